"""What a request asks for: verb, resource, namespace, name and subresource, read from its method and path.

Follows k8s.io/apiserver `pkg/endpoints/request` (RequestInfo). Nothing is looked up here: an unknown resource is the
dispatcher's to refuse, after authorization.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fairlead.apiserver import status
from fairlead.client import exchange

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"get": "list", "delete": "deletecollection"}
_TRUE = ("", "1", "t", "T", "true", "TRUE", "True")


@dataclass(slots=True)
class Info:
    """One request, taken apart. `object_name` is what a created object is called. `resource` is "" for paths that
    are no resource (`/healthz`, discovery)."""

    method: str
    path: str
    verb: str
    identity: exchange.Identity
    query: dict[str, list[str]]
    headers: Any
    body: bytes
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    rest: str = ""
    object_name: str = ""
    warnings: list[str] = field(default_factory=list)

    def first(self, parameter: str) -> str:
        """The first value of a query parameter, or ""."""
        values = self.query.get(parameter)
        return values[0] if values else ""

    def flag(self, parameter: str) -> bool:
        """A boolean query parameter; given without a value it is true. Refuses other words."""
        values = self.query.get(parameter)
        if values is None:
            return False
        if values[0] in _TRUE:
            return True
        if values[0].lower() in ("0", "f", "false"):
            return False
        raise status.bad_request(f'invalid boolean value "{values[0]}" for parameter {parameter}')

    def number(self, parameter: str) -> int:
        """A query parameter that is a number of zero or more; 0 when absent."""
        text = self.first(parameter)
        if not text:
            return 0
        if not text.isdecimal() or len(text) > 18:
            raise status.bad_request(f'invalid value "{text}" for parameter {parameter}: must be a whole number')
        return int(text)

    @property
    def dry_run(self) -> bool:
        values = self.query.get("dryRun")
        if not values or values == [""]:
            return False
        if values != ["All"]:
            raise status.failure(422, "Invalid", f'dryRun: Unsupported value: "{values[0]}": supported values: "All"')
        return True


def read(request: exchange.Request, identity: exchange.Identity) -> Info:
    """Takes a request apart."""
    query: dict[str, list[str]] = {}
    for name, value in request.query:
        query.setdefault(name, []).append(value)
    verb = _VERBS.get(request.method)
    if verb is None:
        raise status.method_not_allowed()
    info = Info(request.method, request.path, verb, identity, query, request.headers, request.body)
    parts = [part for part in request.path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        info.version, rest = parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        info.group, info.version, rest = parts[1], parts[2], parts[3:]
    else:
        return info
    _read_resource(info, rest)
    return info


def _read_resource(info: Info, parts: list[str]) -> None:
    if parts[0] == "watch" and len(parts) > 1:  # the deprecated form /api/v1/watch/…
        info.query["watch"] = ["true"]
        parts = parts[1:]
    if parts[0] == "namespaces" and len(parts) > 1:
        info.namespace = parts[1]
        if len(parts) > 2 and parts[2] not in ("status", "finalize"):
            parts = parts[2:]
    info.resource = parts[0]
    info.name = parts[1] if len(parts) > 1 else ""
    info.subresource = parts[2] if len(parts) > 2 else ""
    info.rest = "/".join(parts[3:])
    if not info.name:
        info.verb = _COLLECTION_VERBS.get(info.verb, info.verb)
        if info.verb == "list" and info.flag("watch"):
            info.verb = "watch"
    elif info.verb == "get" and not info.subresource and info.flag("watch"):
        info.verb = "watch"
        info.query["fieldSelector"] = [f"metadata.name={info.name}"]
        info.name = ""
