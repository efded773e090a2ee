"""delete and deletecollection: preconditions, grace periods, finalizers, propagation.

An object goes at once unless something holds it: a grace period (pods), finalizers, or a propagation policy that
asks the garbage collector to act first (`Foreground`, `Orphan` add the finalizer that it removes). Follows
k8s.io/apiserver `pkg/registry/rest/delete.go` and `generic/registry/store.go`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fairlead.apiserver import codec, read, requests, resources, status, write
from fairlead.apiserver.around import Around
from fairlead.base import clock as clocks
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
_POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions, checked."""

    grace_seconds: int | None = None
    policy: str = ""
    uid: str = ""
    version: str = ""


def options(info: requests.Info) -> Options:
    """The options of the body or, without one, of the query. Raises ApiError."""
    given: Object = {}
    if info.body.strip():
        parsed = codec.parse(info.body, info.headers.get("content-type", ""))
        if not isinstance(parsed, dict):
            raise status.bad_request("the body of a deletion must be a DeleteOptions object")
        given = parsed
    dry = given.get("dryRun")
    if dry:
        info.query["dryRun"] = list(dry)
    grace = given.get("gracePeriodSeconds")
    if grace is None and info.first("gracePeriodSeconds"):
        grace = info.number("gracePeriodSeconds")
    policy = given.get("propagationPolicy") or info.first("propagationPolicy")
    orphan = given.get("orphanDependents")
    if orphan is None and "orphanDependents" in info.query:
        orphan = info.flag("orphanDependents")
    if orphan is not None and not policy:
        policy = "Orphan" if orphan else "Background"
    conditions = given.get("preconditions") or {}
    _check(grace, policy, conditions)
    return Options(grace, policy or "", conditions.get("uid") or "", conditions.get("resourceVersion") or "")


def _check(grace: Any, policy: Any, conditions: Any) -> None:
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise status.bad_request("gracePeriodSeconds must be a whole number")
    if grace is not None and grace < 0:
        raise status.failure(
            422, "Invalid", f"gracePeriodSeconds: Invalid value: {grace}: must be greater than or equal to 0"
        )
    if policy and policy not in _POLICIES:
        known = ", ".join(f'"{word}"' for word in _POLICIES)
        raise status.failure(
            422, "Invalid", f'propagationPolicy: Unsupported value: "{policy}": supported values: {known}'
        )
    if not isinstance(conditions, dict):
        raise status.bad_request("preconditions must be an object")


async def delete(
    store: protocol.Store, info: requests.Info, resource: resources.Resource, around: Around, writer: write.Writer
) -> exchange.Response:
    """Deletes one object: 200 with a Status when it is gone, with the object while something holds it."""
    wanted = options(info)
    body = await _delete_one(store, info.name, info.namespace, wanted, resource, around, writer)
    return exchange.Response(200, read.JSON, body)


async def _delete_one(
    store: protocol.Store,
    name: str,
    namespace: str,
    wanted: Options,
    resource: resources.Resource,
    around: Around,
    writer: write.Writer,
) -> bytes:
    entry = store.head(resource.key(namespace, name))
    if entry is None:
        raise status.not_found(resource.kind, name)
    obj = codec.decode(entry.value)
    _check_conditions(obj, wanted, resource, name)
    if refusal := resource.behaviour.deletion_refused(obj, around.identity):
        raise status.forbidden(resource.kind, name, refusal)
    changed = _mark(obj, wanted, resource, around)
    if write.held(obj):
        if around.dry_run or not changed:
            return read.value(entry, resource) if not changed else codec.encode(obj)
        return await writer.replace(obj, entry, resource)
    if not around.dry_run:
        await writer.remove(obj, entry, resource, around)
    return codec.encode(status.success(resource.kind, name, obj["metadata"].get("uid", "")))


def _as_stored(resource: resources.Resource) -> resources.Resource:
    if not resource.converted:
        return resource
    return resources.Resource(resource.stored, resource.stored, resource.behaviour)


def _check_conditions(obj: Object, wanted: Options, resource: resources.Resource, name: str) -> None:
    metadata = obj["metadata"]
    if wanted.uid and wanted.uid != metadata["uid"]:
        detail = f"Precondition failed: UID in precondition: {wanted.uid}, UID in object meta: {metadata['uid']}"
        raise status.conflict(resource.kind, name, detail)
    if wanted.version and wanted.version != metadata["resourceVersion"]:
        detail = (
            f"Precondition failed: ResourceVersion in precondition: {wanted.version}, "
            f"ResourceVersion in object meta: {metadata['resourceVersion']}"
        )
        raise status.conflict(resource.kind, name, detail)


def _mark(obj: Object, wanted: Options, resource: resources.Resource, around: Around) -> bool:
    """Writes into the object that it is being deleted; False when it says so already."""
    metadata = obj["metadata"]
    before = (
        metadata.get("deletionTimestamp"),
        metadata.get("deletionGracePeriodSeconds"),
        list(metadata.get("finalizers") or ()),
    )
    _propagate(metadata, wanted.policy)
    grace = resource.behaviour.grace_seconds(obj, wanted.grace_seconds) or 0
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = clocks.rfc3339(around.now() + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
    elif grace < metadata.get("deletionGracePeriodSeconds", 0) and (wanted.grace_seconds is not None):
        started = clocks.parse_rfc3339(metadata["deletionTimestamp"]) - metadata["deletionGracePeriodSeconds"]
        metadata["deletionTimestamp"] = clocks.rfc3339(started + grace)
        metadata["deletionGracePeriodSeconds"] = grace
    if obj["kind"] == "Namespace":
        obj.setdefault("status", {})["phase"] = "Terminating"
    after = (
        metadata.get("deletionTimestamp"),
        metadata.get("deletionGracePeriodSeconds"),
        list(metadata.get("finalizers") or ()),
    )
    return before != after


def _propagate(metadata: Object, policy: str) -> None:
    finalizers = [
        text for text in metadata.get("finalizers") or () if not policy or text not in ("orphan", "foregroundDeletion")
    ]
    if policy == "Foreground":
        finalizers.append("foregroundDeletion")
    elif policy == "Orphan":
        finalizers.append("orphan")
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


async def collection(
    store: protocol.Store, info: requests.Info, resource: resources.Resource, around: Around, writer: write.Writer
) -> exchange.Response:
    """Deletes what the selectors select; answers with the list of it."""
    wanted = options(info)
    match = read.matcher(info, resource)
    entries = [entry for entry in store.page(resource.prefix(info.namespace)).entries if match is None or match(entry)]
    for start in range(0, len(entries), 64):
        deletions = [
            _delete_one(store, obj.key.rsplit("/", 1)[1], obj.key.split("/")[-2], wanted, resource, around, writer)
            for obj in entries[start : start + 64]
        ]
        for result in await asyncio.gather(*deletions, return_exceptions=True):
            if isinstance(result, BaseException) and getattr(result, "code", 0) != 404:
                raise result
    head = {"kind": resource.list_kind, "apiVersion": resource.kind.api_version}
    head["metadata"] = {"resourceVersion": str(store.revision)}  # type: ignore[assignment]
    items = b",".join(read.value(entry, resource) for entry in entries)
    return exchange.Response(200, read.JSON, codec.encode(head)[:-1] + b',"items":[' + items + b"]}")
