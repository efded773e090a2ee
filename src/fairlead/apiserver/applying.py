"""Server-side apply: the request's side of `api.managed`. Creates what is not there; conflicts are 409 with their
causes.

Objects carry managedFields from their first apply on; until then one manager, `before-first-apply`, stands for all
who wrote (as Kubernetes does for objects without managedFields). kubectl's own last-applied annotation excuses
conflicts with what kubectl itself had applied before, and is kept up to date, so that moving from client-side apply
needs no force.
"""

from __future__ import annotations

import json
from typing import Any

from fairlead.api.managed import managers
from fairlead.apiserver import codec, requests, resources, status
from fairlead.base import clock as clocks
from fairlead.client import errors

Object = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def manager_name(info: requests.Info) -> str:
    """Who writes: the fieldManager parameter, or the user agent's first word."""
    named = info.first("fieldManager")
    if len(named) > 128:
        raise status.failure(422, "Invalid", "fieldManager: Too long: may not be more than 128 bytes")
    return named or info.headers.get("user-agent", "unknown").partition("/")[0][:128] or "unknown"


def _me(info: requests.Info, resource: resources.Resource, operation: str, now: float) -> managers.Manager:
    version = resource.kind.api_version
    subresource = info.subresource
    return managers.Manager(manager_name(info), operation, version, clocks.rfc3339(now), frozenset(), subresource)


def _resets(info: requests.Info, resource: resources.Resource) -> tuple[str, ...]:
    """Top-level fields that a request to this endpoint cannot change."""
    if info.subresource == "status":
        return ("spec",)
    return ("status",) if resource.has("status") and resource.behaviour.status_field == "status" else ()


def read(info: requests.Info, resource: resources.Resource) -> Object:
    """The applied object. Raises ApiError."""
    if not info.first("fieldManager"):
        raise status.failure(
            422,
            "Invalid",
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        )
    wanted = codec.shaped(codec.parse(info.body, "application/apply-patch+yaml"), info, resource)
    metadata = wanted.setdefault("metadata", {})
    if metadata.get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    for field, value in (("name", info.name), ("namespace", info.namespace)):
        if value and metadata.setdefault(field, value) != value:
            raise status.bad_request(
                f"the {field} of the provided object does not match the {field} sent on the request"
            )
    return wanted


def created(wanted: Object, info: requests.Info, resource: resources.Resource, now: float) -> list[Object]:
    """managedFields of an object that an apply makes."""
    me = _me(info, resource, "Apply", now)
    result = managers.apply(None, wanted, [], me, resource.schema or {}, without=_resets(info, resource))
    return [manager.encode() for manager in result.managers]


def applied(live: Object, wanted: Object, info: requests.Info, resource: resources.Resource, now: float) -> Object:
    """The live object after the apply, its managedFields included. Raises ApiError 409."""
    schema = resource.schema or {}
    entries = live["metadata"].get("managedFields")
    plain = {**live, "metadata": {key: value for key, value in live["metadata"].items() if key != "managedFields"}}
    if entries:
        known = managers.decode(entries)
    else:
        everything = frozenset(managers.owned(plain, schema))
        first = managers.Manager(
            managers.BEFORE_FIRST_APPLY, "Update", resource.kind.api_version, clocks.rfc3339(now), everything
        )
        known = [first]
    me = _me(info, resource, "Apply", now)
    result = managers.apply(plain, wanted, known, me, schema, without=_resets(info, resource))
    conflicts = _unexcused(result.conflicts, live, me, resource)
    if conflicts and not info.flag("force"):
        raise _conflict(conflicts)
    obj: Object = codec.decode(codec.encode(result.obj))
    if me.name == "kubectl" and LAST_APPLIED in (live["metadata"].get("annotations") or {}):
        obj["metadata"].setdefault("annotations", {})[LAST_APPLIED] = json.dumps(wanted, separators=(",", ":")) + "\n"
    before = {manager.key: manager for manager in known}
    settled = [
        old if (old := before.get(one.key)) is not None and old.fields == one.fields else one for one in result.managers
    ]
    obj["metadata"]["managedFields"] = [manager.encode() for manager in settled]
    return obj


def _unexcused(
    conflicts: list[managers.Conflict], live: Object, me: managers.Manager, resource: resources.Resource
) -> list[managers.Conflict]:
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if me.name != "kubectl" or not text or not conflicts:
        return conflicts
    try:
        mine = managers.owned(json.loads(text), resource.schema or {})
    except (ValueError, AttributeError):
        return conflicts
    values = managers.owned(live, resource.schema or {})
    excused = {path for path, value in mine.items() if values.get(path) == value}
    left = [managers.Conflict(one.manager, tuple(p for p in one.paths if p not in excused)) for one in conflicts]
    return [one for one in left if one.paths]


def _conflict(conflicts: list[managers.Conflict]) -> errors.ApiError:
    causes, lines = [], []
    for one in conflicts:
        who = f'"{one.manager.name}"'
        if one.manager.subresource:
            who += f' with subresource "{one.manager.subresource}"'
        if one.manager.operation == "Update":
            who += f" using {one.manager.version}"
        shown = [managers.show(path) for path in one.paths]
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for path in shown
        ]
        lines.append(
            f"conflict with {who}: {shown[0]}" if len(shown) == 1 else f"conflicts with {who}:\n- " + "\n- ".join(shown)
        )
    number = len(causes)
    head = f"Apply failed with {number} conflict{'s' if number != 1 else ''}: "
    return status.failure(409, "Conflict", head + "\n".join(lines), details={"causes": causes})


def track(obj: Object, old: Object, info: requests.Info, resource: resources.Resource, now: float) -> None:
    """Keeps managedFields true through a write that is no apply. Objects that were never applied have none."""
    entries = old["metadata"].get("managedFields")
    given = obj["metadata"].get("managedFields")
    if not entries:
        obj["metadata"].pop("managedFields", None)
        return
    if given == [{}] or given == []:  # the way to forget all managers
        obj["metadata"].pop("managedFields", None)
        return
    schema = resource.schema or {}
    known = managers.decode(given or entries)
    me = _me(info, resource, "Update", now)
    changed = managers.update(old, obj, known, me, schema)
    before = known if given in (None, entries) else managers.decode(entries)
    obj["metadata"]["managedFields"] = entries if changed == before else [one.encode() for one in changed]
