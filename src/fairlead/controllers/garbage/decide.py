"""What becomes of one object when its owners go, and of its dependents when it goes. Pure.

Follows Kubernetes' `pkg/controller/garbagecollector`:
* Background: an object all of whose owners are gone is deleted; one that still has an owner only loses the dead
  references.
* Foreground: an owner that waits (`foregroundDeletion`) has its dependents deleted first, and goes when none that
  blocks it (`blockOwnerDeletion`) is left.
* Orphan: an owner with the finalizer `orphan` goes when no dependent refers to it any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fairlead.api.kinds import Kind
from fairlead.controllers import writes
from fairlead.controllers.writes import Object

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
OwnerState = Literal["present", "waiting", "absent"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One object, what is known of its owners (uid -> state), and who depends on it."""

    kind: Kind
    object: Object
    owners: Mapping[str, OwnerState]
    dependents: Sequence[tuple[Kind, Object]]


def waiting(obj: Object) -> bool:
    """Being deleted in the foreground."""
    return "deletionTimestamp" in obj["metadata"] and FOREGROUND in (obj["metadata"].get("finalizers") or ())


def decide(snapshot: Snapshot) -> writes.Decision:
    """The next writes for this object."""
    metadata = snapshot.object["metadata"]
    finalizers = metadata.get("finalizers") or ()
    if "deletionTimestamp" in metadata:
        if ORPHAN in finalizers:
            return _orphan(snapshot)
        if FOREGROUND in finalizers:
            return _foreground(snapshot)
        return writes.NOTHING
    return _by_owners(snapshot)


def _orphan(snapshot: Snapshot) -> writes.Decision:
    uid = snapshot.object["metadata"]["uid"]
    freed = tuple(_without_owners(kind, dependent, {uid}) for kind, dependent in snapshot.dependents)
    return writes.Decision((*freed, _without_finalizer(snapshot, ORPHAN)))


def _foreground(snapshot: Snapshot) -> writes.Decision:
    blocking = [
        dependent
        for _, dependent in snapshot.dependents
        if any(
            reference.get("blockOwnerDeletion")
            for reference in dependent["metadata"]["ownerReferences"]
            if reference["uid"] == snapshot.object["metadata"]["uid"]
        )
    ]
    if blocking:
        return writes.NOTHING  # each dependent is looked at for itself
    return writes.Decision((_without_finalizer(snapshot, FOREGROUND),))


def _by_owners(snapshot: Snapshot) -> writes.Decision:
    references = snapshot.object["metadata"].get("ownerReferences") or ()
    if not references:
        return writes.NOTHING
    states = {reference["uid"]: snapshot.owners.get(reference["uid"], "present") for reference in references}
    if "present" in states.values():
        dead = {uid for uid, state in states.items() if state != "present"}
        if not dead:
            return writes.NOTHING
        return writes.Decision((_without_owners(snapshot.kind, snapshot.object, dead),))
    return writes.Decision((_delete(snapshot, in_foreground="waiting" in states.values()),))


def _delete(snapshot: Snapshot, *, in_foreground: bool) -> writes.Delete:
    metadata = snapshot.object["metadata"]
    policy: Literal["Background", "Foreground", "Orphan"] = "Background"
    if ORPHAN in (metadata.get("finalizers") or ()):
        policy = "Orphan"
    elif FOREGROUND in (metadata.get("finalizers") or ()) or (in_foreground and snapshot.dependents):
        policy = "Foreground"
    # The version is a precondition: whoever adopts the object meanwhile keeps it.
    return writes.Delete(
        snapshot.kind,
        metadata.get("namespace", ""),
        metadata["name"],
        uid=metadata["uid"],
        propagation=policy,
        resource_version=metadata["resourceVersion"],
    )


def _without_owners(kind: Kind, obj: Object, uids: set[str]) -> writes.Patch:
    left = [reference for reference in obj["metadata"].get("ownerReferences") or () if reference["uid"] not in uids]
    version = obj["metadata"]["resourceVersion"]
    return writes.patch_of(kind, obj, {"metadata": {"ownerReferences": left or None, "resourceVersion": version}})


def _without_finalizer(snapshot: Snapshot, name: str) -> writes.Patch:
    metadata = snapshot.object["metadata"]
    left = [found for found in metadata["finalizers"] if found != name]
    patch = {"metadata": {"finalizers": left or None, "resourceVersion": metadata["resourceVersion"]}}
    return writes.patch_of(snapshot.kind, snapshot.object, patch)
