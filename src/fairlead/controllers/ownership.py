"""Who controls what: owner references, adoption of objects that match, release of those that no longer do.

As Kubernetes' ControllerRefManager: an object that another owner controls is never touched; an orphan that matches is
adopted unless either side is being deleted; an owned object that stopped matching is released. The patches carry the
uid, so that a successor of the same name is never taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.api import selectors
from fairlead.api.kinds import Kind
from fairlead.controllers import writes
from fairlead.controllers.writes import Object


@dataclass(frozen=True, slots=True)
class Claim:
    """The objects that are the owner's now, and the writes that adopt and release."""

    owned: tuple[Object, ...]
    writes: tuple[writes.Write, ...]


def reference(kind: Kind, owner: Object) -> Object:
    """The controller reference to an owner."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Object) -> Object | None:
    """The owner reference that controls the object."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return None


def controls(owner: Object, obj: Object) -> bool:
    found = controller_of(obj)
    return found is not None and found["uid"] == owner["metadata"]["uid"]


def claim(kind: Kind, owner: Object, objects: Iterable[Object], *, of: Kind, selector: selectors.Selector) -> Claim:
    """Which of `objects` (of the kind `of`) are the owner's, and what must be written so that they say so.

    Objects to adopt are not in `owned` yet: they are when the watch tells of their new reference.
    """
    owned: list[Object] = []
    changes: list[writes.Write] = []
    for obj in objects:
        matches = selector.matches(obj["metadata"].get("labels"))
        found = controller_of(obj)
        if found is None:
            if matches and "deletionTimestamp" not in obj["metadata"] | owner["metadata"]:
                changes.append(_adopt(of, obj, reference(kind, owner)))
        elif found["uid"] != owner["metadata"]["uid"]:
            continue
        elif matches or "deletionTimestamp" in owner["metadata"]:
            owned.append(obj)
        else:
            changes.append(_release(of, obj, owner))
    return Claim(tuple(owned), tuple(changes))


def _adopt(kind: Kind, obj: Object, controller: Object) -> writes.Patch:
    references = [*(obj["metadata"].get("ownerReferences") or ()), controller]
    version = obj["metadata"]["resourceVersion"]  # the list is replaced whole: nobody may have changed it
    return writes.patch_of(kind, obj, {"metadata": {"ownerReferences": references, "resourceVersion": version}})


def _release(kind: Kind, obj: Object, owner: Object) -> writes.Patch:
    uid = owner["metadata"]["uid"]
    references = [entry for entry in obj["metadata"]["ownerReferences"] if entry["uid"] != uid]
    version = obj["metadata"]["resourceVersion"]
    patch = {"metadata": {"ownerReferences": references or None, "resourceVersion": version}}
    return writes.patch_of(kind, obj, patch)
