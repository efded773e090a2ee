"""A faithful small API server in memory: an `Exchange` for tests of clients and controllers.

Does as Kubernetes: resource versions and conflicts, watches with resume and 410, generateName, generation, the status
and scale subresources, merge patch, dry run, label and field selectors, paged lists, deletion with preconditions,
finalizers, propagation policies and pods' grace. Refuses (415, 404, 405) what it does not know. It has no admission,
validation, authorization or garbage collection; `requests` lists the writes that were asked for.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fairlead.api import kinds, selectors
from fairlead.base import clock as clocks
from fairlead.client import errors, exchange, inprocess, rest
from fairlead.testing import deletion, memory

Object = dict[str, Any]
_DECODE: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class FakeApiServer:
    """Call it as an Exchange, or take a `client`."""

    def __init__(self, *, clock: clocks.Clock, extra_kinds: Sequence[kinds.Kind] = ()) -> None:
        self.store = memory.Memory()
        self.requests: list[tuple[str, str]] = []
        self.fail: Callable[[exchange.Request], exchange.Response | None] = lambda request: None
        self._clock = clock
        self._kinds = {kind.path(): kind for kind in (*kinds.KINDS, *extra_kinds)}
        self._names = itertools.count()
        self._uids = itertools.count(1)

    def client(self, name: str = "tests") -> rest.RestClient:
        """A Client as the ServiceAccount of that name."""
        return inprocess.client(self, inprocess.service_account(name))

    async def __call__(self, request: exchange.Request) -> exchange.Response:
        await asyncio.sleep(0)  # a real server never answers in the same step
        if request.method != "GET":
            self.requests.append((request.method, request.path))
        failed = self.fail(request)
        if failed is not None:
            return failed
        try:
            return self._answer(request)
        except errors.ApiError as error:
            return exchange.Response(error.code, body=msgspec.json.encode(error.status))

    def _answer(self, request: exchange.Request) -> exchange.Response:
        kind, namespace, name, subresource = self._parse(request.path)
        query = dict(request.query)
        if not name:
            if request.method == "POST":
                return _ok(self._create(kind, namespace, _DECODE.decode(request.body), dry_run="dryRun" in query), 201)
            if request.method == "GET":
                return self._list_or_watch(kind, namespace, query)
            raise _status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        key = (kind.path(), namespace, name)
        current = self.store.get(key)
        if current is None:
            raise _status(404, "NotFound", f'{kind} "{name}" not found')
        if request.method == "GET":
            return _ok(_scale(current) if subresource == "scale" else current)
        if request.method == "DELETE":
            return _ok(self._delete(kind, key, current, _DECODE.decode(request.body) if request.body else {}))
        if request.method == "POST" and subresource == "token":
            return _ok(_token(current, _DECODE.decode(request.body), now=self._clock.now()), 201)
        return _ok(self._write(kind, key, current, request, subresource, dry_run="dryRun" in query))

    def _parse(self, path: str) -> tuple[kinds.Kind, str, str, str]:
        parts = path.strip("/").split("/")
        start = 2 if parts[0] == "api" else 3
        prefix, rest_ = parts[:start], parts[start:]
        namespace = ""
        if rest_ and rest_[0] == "namespaces" and len(rest_) > 2 and rest_[2] not in ("status", "finalize"):
            namespace, rest_ = rest_[1], rest_[2:]
        kind = self._kinds.get("/" + "/".join([*prefix, rest_[0] if rest_ else ""]))
        if kind is None:
            raise _status(404, "NotFound", "the server could not find the requested resource")
        name, subresource = (*rest_[1:], "", "")[:2]
        if subresource and subresource not in kind.subresources:
            raise _status(404, "NotFound", "the server could not find the requested resource")
        return kind, namespace, name, subresource

    def _list_or_watch(self, kind: kinds.Kind, namespace: str, query: dict[str, str]) -> exchange.Response:
        labels = selectors.parse(query.get("labelSelector", ""))
        fields = selectors.field_test(query.get("fieldSelector", ""))

        def test(obj: Object) -> bool:
            return labels.matches(obj["metadata"].get("labels")) and fields(obj)

        if query.get("watch") == "true":
            return self._watch(kind, namespace, test, query.get("resourceVersion", ""))
        items = self.store.select(kind.path(), namespace, test)
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0)
        page = items[start : start + limit] if limit else items
        metadata = {"resourceVersion": str(self.store.revision)}
        if limit and start + limit < len(items):
            metadata["continue"] = str(start + limit)
        body = {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata, "items": page}
        return _ok(body)

    def _watch(self, kind: kinds.Kind, namespace: str, test: memory.Test, version: str) -> exchange.Response:
        revision = int(version) if version else 0
        try:
            self.store.since(revision)
        except memory.Compacted:
            raise errors.ApiError(memory.gone()) from None
        lines = self.store.watch(kind.path(), namespace, test, revision=revision)
        return exchange.Response(200, stream=lines)

    def _create(self, kind: kinds.Kind, namespace: str, obj: Object, *, dry_run: bool) -> Object:
        metadata = dict(obj.get("metadata") or {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise _status(422, "Invalid", "name or generateName is required")
            metadata["name"] = f"{metadata['generateName']}{next(self._names):05x}"
        if kind.namespaced:
            metadata["namespace"] = namespace
        key = (kind.path(), namespace, metadata["name"])
        if self.store.get(key) is not None:
            raise _status(409, "AlreadyExists", f'{kind} "{metadata["name"]}" already exists')
        metadata["uid"] = str(uuid.UUID(int=next(self._uids)))
        metadata["creationTimestamp"] = clocks.rfc3339(self._clock.now())
        metadata.pop("deletionTimestamp", None)
        metadata.pop("resourceVersion", None)
        if "spec" in obj:
            metadata["generation"] = 1
        new = {**obj, "metadata": metadata}
        if "status" in kind.subresources:
            new.pop("status", None)
        if kind == kinds.POD:
            new["status"] = {"phase": "Pending"}
        if kind == kinds.NAMESPACE:
            new = {**new, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        return new if dry_run else self.store.put(key, new)

    def _write(
        self,
        kind: kinds.Kind,
        key: memory.Key,
        current: Object,
        request: exchange.Request,
        subresource: str,
        *,
        dry_run: bool,
    ) -> Object:
        body = _DECODE.decode(request.body)
        before = _scale(current) if subresource == "scale" else current
        if request.method == "PATCH":
            if request.headers.get("content-type") != rest.PATCH_TYPES["merge"]:
                raise _status(415, "UnsupportedMediaType", "the fake API server knows merge patches only")
            body = merge(before, body)
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != current["metadata"]["resourceVersion"]:
            message = f'Operation cannot be fulfilled on {kind} "{key[2]}": the object has been modified'
            raise _status(409, "Conflict", message)
        if body.get("metadata", {}).get("uid", current["metadata"]["uid"]) != current["metadata"]["uid"]:
            raise _status(409, "Conflict", f'the UID in the precondition does not match {kind} "{key[2]}"')
        new = _prepared(kind, current, body, subresource)
        if new != current and not dry_run:
            current = self._store_or_finish(kind, key, new)
        elif dry_run:
            current = new
        return _scale(current) if subresource == "scale" else current

    def _store_or_finish(self, kind: kinds.Kind, key: memory.Key, new: Object) -> Object:
        stored = self.store.put(key, new)
        if deletion.finished(kind, stored):
            return self.store.remove(key)
        return stored

    def _delete(self, kind: kinds.Kind, key: memory.Key, current: Object, options: Object) -> Object:
        for name, wanted in (options.get("preconditions") or {}).items():
            if current["metadata"].get(name) != wanted:
                raise _status(409, "Conflict", f"the {name} in the precondition ({wanted}) does not match")
        marked = deletion.mark(kind, current, options, now=self._clock.now())
        if deletion.finished(kind, marked):
            self.store.remove(key)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return current if marked == current else self.store.put(key, marked)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


_KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
    "name",
)


def _prepared(kind: kinds.Kind, current: Object, body: Object, subresource: str) -> Object:
    """The object to store: what the request may not change is taken from the current one."""
    if subresource == "scale":
        new = {**current, "spec": {**current["spec"], "replicas": body["spec"].get("replicas", 0)}}
    elif subresource == "status":
        new = {**current, "status": body.get("status", {})}
    elif subresource == "finalize":
        new = {**current, "spec": body.get("spec", {})}
    else:
        new = {**body}
        if "status" in kind.subresources:
            new.pop("status", None)
            if "status" in current:
                new["status"] = current["status"]
    old = current["metadata"]
    metadata = {**(new.get("metadata") or {}), **{name: old[name] for name in _KEPT if name in old}}
    metadata["resourceVersion"] = old["resourceVersion"]
    if new.get("spec") != current.get("spec") and "generation" in old:
        metadata["generation"] = old["generation"] + 1
    return {**new, "metadata": metadata}


def _token(account: Object, asked: Object, *, now: float) -> Object:
    """A TokenRequest's answer; the token says who, for whom and until when, and is no JWT."""
    spec = asked.get("spec") or {}
    end = int(now) + int(spec.get("expirationSeconds") or 3600)
    audience = ",".join(spec.get("audiences") or ["kubernetes"])
    token = f"{account['metadata']['namespace']}/{account['metadata']['name']} {audience} {end}"
    return {**asked, "status": {"token": token, "expirationTimestamp": clocks.rfc3339(end)}}


def _scale(obj: Object) -> Object:
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = str(selectors.from_object(obj["spec"].get("selector")))
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {name: obj["metadata"][name] for name in names if name in obj["metadata"]},
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {"replicas": (obj.get("status") or {}).get("replicas", 0), "selector": selector},
    }


def _ok(body: Object, code: int = 200) -> exchange.Response:
    return exchange.Response(code, {"content-type": "application/json"}, msgspec.json.encode(body))


def _status(code: int, reason: str, message: str) -> errors.ApiError:
    return errors.ApiError(
        {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
    )
