"""create, update and patch: from a body to a durable object. One pass, synchronous up to the commit.

The object is read, changed, admitted, validated and numbered without anything else running in between, so a
read-modify-write needs no retry; the commit is awaited last. A write that changes nothing keeps the resource version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fairlead.api import field_errors, unenforced
from fairlead.apiserver import applying, codec, metadata, patching, requests, resources, status
from fairlead.apiserver.around import Around
from fairlead.store import protocol

Object = dict[str, Any]
Finish = Callable[[], None]


class Writer:
    """The write verbs over one store."""

    def __init__(self, store: protocol.Store) -> None:
        self._store = store

    async def create(
        self,
        obj: Object,
        info: requests.Info,
        resource: resources.Resource,
        around: Around,
        *,
        managers: list[Object] | None = None,
    ) -> bytes:
        """Creates an object of the resource's shape; returns its JSON. `managers` are an apply's managedFields."""
        behaviour = resource.behaviour
        obj = _stored(obj, resource)
        metadata.begin(obj, info, resource, around)
        name, namespace = obj["metadata"].get("name", ""), obj["metadata"].get("namespace", "")
        if resource.has("status") and (behaviour.status_field == "status"):
            obj.pop("status", None)
        info.object_name = name
        if managers:
            obj["metadata"]["managedFields"] = managers
        behaviour.default(obj)
        problems = metadata.validate(obj, resource)
        if problems:
            raise status.invalid(resource.kind, name, problems + behaviour.validate(obj))
        self._check_free(resource, namespace, name, around)
        try:
            entry = await self._admitted(obj, resource, around)
        except Exception:  # a cancelled caller's write may still become durable
            behaviour.deleted(obj, around)  # gives back what admission took; the name was free
            raise
        if entry is None:
            behaviour.deleted(obj, around)
            return _answer(obj, resource, 0)
        behaviour.created(obj, around)
        return _value(entry, obj, resource)

    async def _admitted(self, obj: Object, resource: resources.Resource, around: Around) -> protocol.Entry | None:
        """The durable entry of a new object whose name is free; None for a dry run. Raises ApiError."""
        behaviour = resource.behaviour
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
        behaviour.admit_create(obj, around)
        if problems := behaviour.validate(obj):
            raise status.invalid(resource.kind, name, problems)
        _warn(obj, resource, around)
        if around.dry_run:
            return None
        return await _durable(self._store.write(resource.key(namespace, name), encoder(obj), expected=0))

    def _check_free(self, resource: resources.Resource, namespace: str, name: str, around: Around) -> None:
        if resource.kind.namespaced:
            home = around.get("namespaces", "", namespace)
            if home is None:
                raise status.failure(
                    404,
                    "NotFound",
                    f'namespaces "{namespace}" not found',
                    details={"name": namespace, "kind": "namespaces"},
                )
            if "deletionTimestamp" in home["metadata"]:
                error = status.forbidden(
                    resource.kind,
                    name,
                    f"unable to create new content in namespace {namespace} because it is being terminated",
                )
                cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}
                error.status["details"]["causes"] = [{**cause, "field": "metadata.namespace"}]
                raise error
        if self._store.head(resource.key(namespace, name)) is not None:
            raise status.already_exists(resource.kind, name)

    def current(self, info: requests.Info, resource: resources.Resource) -> tuple[protocol.Entry, Object]:
        """The newest entry and its object as this version serves it. Raises ApiError 404."""
        entry = self._store.head(resource.key(info.namespace, info.name))
        if entry is None:
            raise status.not_found(resource.kind, info.name)
        obj = codec.decode(entry.value)
        return entry, resource.decode_stored(obj) if resource.decode_stored else obj

    async def update(
        self,
        obj: Object,
        old: Object,
        entry: protocol.Entry,
        info: requests.Info,
        resource: resources.Resource,
        around: Around,
    ) -> bytes:
        """Replaces `old`, which is `entry`'s object, by `obj`, or its status when that is the subresource."""
        behaviour = resource.behaviour
        obj, old = _stored(obj, resource), _stored(old, resource)
        metadata.carry(obj, old, info, resource)
        if info.subresource == "status":
            obj = _only_status(obj, old)
            behaviour.prepare_status(obj, old)
        elif resource.has("status") and behaviour.status_field == "status":
            _keep(obj, old, "status")
        if info.subresource != "status" or resource.custom:
            behaviour.default(obj)
        problems = self._problems(obj, old, info, resource, around)
        if problems:
            raise status.invalid(resource.kind, info.name, problems)
        if not patching.is_apply(info):
            applying.track(obj, old, info, resource, around.now())
        if obj == old:
            return _value(entry, obj, resource)
        metadata.touch(obj, old, resource)
        if not info.subresource:
            _warn(obj, resource, around)
        if around.dry_run:
            return _answer(obj, resource, entry.revision)
        if "deletionTimestamp" in obj["metadata"] and not held(obj):
            return await self.remove(obj, entry, resource, around)
        written = await _durable(self._store.write(entry.key, encoder(obj), expected=entry.revision))
        behaviour.created(obj, around)
        return _value(written, obj, resource)

    def _problems(
        self, obj: Object, old: Object, info: requests.Info, resource: resources.Resource, around: Around
    ) -> list[field_errors.FieldError]:
        behaviour = resource.behaviour
        problems = metadata.validate(obj, resource) + metadata.validate_update(obj, old)
        if info.subresource == "status":
            return problems + behaviour.validate_status(obj, old)
        if info.subresource != "finalize":  # the only way to a namespace's own finalizers
            behaviour.admit_update(obj, old, around)
        return problems + behaviour.validate(obj) + behaviour.validate_update(obj, old)

    async def remove(self, obj: Object, entry: protocol.Entry, resource: resources.Resource, around: Around) -> bytes:
        """Takes the object out of the store; `obj` is its last state."""
        written = self._store.delete(entry.key, encoder(obj), expected=entry.revision)
        last = await _durable(written)
        resource.behaviour.deleted(obj, around)
        return _value(last, obj, resource)

    async def replace(self, obj: Object, entry: protocol.Entry, resource: resources.Resource) -> bytes:
        """Writes a state, in its stored form, that needs no checks any more."""
        return _value(
            await _durable(self._store.write(entry.key, encoder(obj), expected=entry.revision)), obj, resource
        )


def _warn(obj: Object, resource: resources.Resource, around: Around) -> None:
    for text in unenforced.warnings(resource.stored, obj):
        around.warn(text)


def held(obj: Object) -> bool:
    """True while a finalizer or a namespace's own finalizers keep the object, or its grace period runs."""
    if obj["metadata"].get("finalizers"):
        return True
    if obj["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"):
        return True
    return bool(obj["metadata"].get("deletionGracePeriodSeconds"))


def _stored(obj: Object, resource: resources.Resource) -> Object:
    return resource.encode_stored(obj) if resource.encode_stored else obj


def encoder(obj: Object) -> protocol.Encode:
    def encode(revision: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(revision)
        return codec.encode(obj)

    return encode


def _value(entry: protocol.Entry, stored: Object, resource: resources.Resource) -> bytes:
    return codec.encode(resource.decode_stored(stored)) if resource.decode_stored else entry.value


def _answer(stored: Object, resource: resources.Resource, revision: int) -> bytes:
    """What a dry run answers."""
    shown = resource.decode_stored(stored) if resource.decode_stored else stored
    if revision:
        shown["metadata"]["resourceVersion"] = str(revision)
    return codec.encode(shown)


async def _durable(written: Awaitable[protocol.Entry]) -> protocol.Entry:
    try:
        return await written
    except protocol.StoreError as error:
        raise status.internal(str(error)) from error


def _only_status(obj: Object, old: Object) -> Object:
    """The old object with the new status; of the metadata, status may change nothing but managed fields and
    conditions."""
    result = {**old}  # both are this request's own; nothing below changes what they share
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        _keep(obj["metadata"], old["metadata"], field)
    result["metadata"] = obj["metadata"]
    if "status" in obj:
        result["status"] = obj["status"]
    else:
        result.pop("status", None)
    return result


def _keep(obj: Object, old: Object, field: str) -> None:
    if field in old:
        obj[field] = old[field]
    else:
        obj.pop(field, None)
