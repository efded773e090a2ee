"""What a PersistentVolume wants done: its phase, its protection, and its end when its claim has gone. Pure.

Follows Kubernetes' `pkg/controller/volume/persistentvolume` and `pvprotection`. Only folders that were made here are
deleted with their claim; a volume of somebody else with the policy Delete is left, and an Event says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api import kinds
from fairlead.controllers import writes
from fairlead.controllers.volumes import claims
from fairlead.controllers.writes import Object

PROTECTION = "kubernetes.io/pv-protection"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`claim` is the object that `claimRef` names, None when there is none."""

    volume: Object
    claim: Object | None


@dataclass(frozen=True, slots=True)
class Plan:
    """`writes`, after the folder `remove` is gone ("" for none)."""

    decision: writes.Decision
    remove: str = ""


def decide(snapshot: Snapshot) -> Plan:
    """The phase that the volume should be in, and what follows from it."""
    volume = snapshot.volume
    metadata, spec = volume["metadata"], volume["spec"]
    phase = _phase(snapshot)
    if metadata.get("deletionTimestamp"):
        protected = PROTECTION in (metadata.get("finalizers") or ())
        if phase == "Bound" or not protected:
            return Plan(writes.NOTHING)
        left = [one for one in metadata["finalizers"] if one != PROTECTION]
        change = {"metadata": {"finalizers": left or None}}
        return Plan(writes.Decision((writes.patch_of(kinds.PERSISTENT_VOLUME, volume, change),)))
    found = _written(volume, phase)
    if phase != "Released" or spec.get("persistentVolumeReclaimPolicy") != "Delete":
        return Plan(writes.Decision(tuple(found)))
    if (metadata.get("annotations") or {}).get(claims.PROVISIONED_BY) != claims.PROVISIONER:
        why = (
            "the reclaim policy Delete is carried out only for volumes that were made here; delete the volume yourself"
        )
        note = [writes.Note(volume, "Warning", "VolumeFailedDelete", why)] if found else []
        return Plan(writes.Decision((*found, *note)))
    gone = writes.delete(kinds.PERSISTENT_VOLUME, volume)
    return Plan(writes.Decision((*found, gone)), str((spec.get("hostPath") or {}).get("path") or ""))


def _phase(snapshot: Snapshot) -> str:
    reference, claim = snapshot.volume["spec"].get("claimRef"), snapshot.claim
    if not reference:
        return "Available"
    if not reference.get("uid"):
        return "Available"  # reserved for a claim that has not come
    if claim is not None and claim["metadata"]["uid"] == reference["uid"]:
        return "Bound"
    return "Released"


def _written(volume: Object, phase: str) -> list[writes.Write]:
    if (volume.get("status") or {}).get("phase") == phase:
        return []
    return [writes.patch_of(kinds.PERSISTENT_VOLUME, volume, {"status": {"phase": phase}}, subresource="status")]
