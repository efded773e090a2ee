"""What a controller decides, as values: writes to the API, Events, and when to look again.

A decision is applied in order and ends at the first write that fails; writes that are `Together` are sent at once, in
batches that double while they succeed (Kubernetes' slow start: a quota that refuses the first pod is asked once, not
500 times).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fairlead.api.kinds import Kind

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """The Events about `about` that go with a write: `success` and `failure` are (reason, message); the message's
    `{name}` and `{error}` are filled in."""

    about: Object
    success: tuple[str, str] | None = None
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Create:
    kind: Kind
    body: Object
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Replaces the object or its subresource; conflicts with whoever wrote since `metadata.resourceVersion`."""

    kind: Kind
    body: Object
    subresource: str = ""
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch; `metadata.resourceVersion` and `metadata.uid` in it are preconditions."""

    kind: Kind
    namespace: str
    name: str
    patch: Any
    subresource: str = ""
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes the object with that uid; that it is gone already is success."""

    kind: Kind
    namespace: str
    name: str
    uid: str = ""
    propagation: Literal["", "Background", "Foreground", "Orphan"] = ""
    resource_version: str = ""
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """An Event about an object."""

    about: Object
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Together:
    """Writes that do not depend on each other."""

    writes: tuple[Create | Delete, ...]


Write = Create | Update | Patch | Delete | Note | Together


@dataclass(frozen=True, slots=True)
class Decision:
    """All that a reconcile wants. `again_seconds`: look again then, even if nothing changes."""

    writes: tuple[Write, ...] = ()
    again_seconds: float | None = None


NOTHING = Decision()


def patch_of(kind: Kind, obj: Object, patch: Object, *, subresource: str = "") -> Patch:
    """A Patch of an object that must still be the one given (same uid)."""
    metadata = {**patch.get("metadata", {}), "uid": obj["metadata"]["uid"]}
    namespace = obj["metadata"].get("namespace", "")
    return Patch(kind, namespace, obj["metadata"]["name"], {**patch, "metadata": metadata}, subresource)


def delete(kind: Kind, obj: Object, *, told: Told | None = None) -> Delete:
    """A Delete of exactly this object."""
    metadata = obj["metadata"]
    return Delete(kind, metadata.get("namespace", ""), metadata["name"], uid=metadata["uid"], told=told)
