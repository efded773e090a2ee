"""Authorization for the fake API server: each controller may do what `controllers.permissions` lists, and no more."""

from __future__ import annotations

import msgspec

from fairlead.client import exchange
from fairlead.controllers import permissions

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Guard:
    """Set as `server.fail`; `refused` lists what was asked for without permission. Other identities may do anything."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    def __call__(self, request: exchange.Request) -> exchange.Response | None:
        name = request.identity.username.rpartition(":")[2] if request.identity else ""
        rules = permissions.RULES.get(name)
        if rules is None:
            return None
        verb, group, resource = _attributes(request)
        if permissions.allows(rules, verb=verb, group=group, resource=resource):
            return None
        self.refused.add(f"{name}: {verb} {resource} {group}".rstrip())
        status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": f"{name} cannot {verb} {resource}"}
        return exchange.Response(403, body=msgspec.json.encode(status))


def _attributes(request: exchange.Request) -> tuple[str, str, str]:
    """(verb, group, resource) as an authorizer sees a request."""
    parts = request.path.strip("/").split("/")
    group, parts = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        parts = parts[2:]
    resource = "/".join([parts[0], *parts[2:]])
    if request.method != "GET":
        return _VERBS[request.method], group, resource
    if ("watch", "true") in request.query:
        return "watch", group, resource
    return "get" if len(parts) > 1 else "list", group, resource
