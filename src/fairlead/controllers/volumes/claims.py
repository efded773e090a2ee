"""What a PersistentVolumeClaim wants done: a pure function of the claim, the volumes, its class and who uses it.

Follows Kubernetes' `pkg/controller/volume/persistentvolume` and `pvcprotection`: the smallest volume that fits is
bound; else one is made, here always a folder of this machine. A class that nobody here provisions for (or that does not
exist) gets a folder, too, so that manifests of other clusters run, and an Event says so; `storageClassName: ""` and
`kubernetes.io/no-provisioner` wait for a volume that somebody makes. The size is told, not enforced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds, quantity, selectors
from fairlead.controllers import writes
from fairlead.controllers.writes import Object

PROTECTION = "kubernetes.io/pvc-protection"
PROVISIONER = "fairlead.dev/local"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_COMPLETED, _BOUND_BY = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
_STATIC = "kubernetes.io/no-provisioner"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`used` says whether a pod names the claim; `folder` is where volumes are made, "" where none can be."""

    claim: Object
    volumes: Sequence[Object]
    storage_class: Object | None
    used: bool
    folder: str

    @property
    def class_name(self) -> str:
        return str(self.claim["spec"].get("storageClassName") or "")


def decide(snapshot: Snapshot) -> writes.Decision:
    """The writes that bring the claim forward."""
    claim = snapshot.claim
    if claim["metadata"].get("deletionTimestamp"):
        return writes.Decision(tuple(_unprotected(snapshot)))
    name = claim["spec"].get("volumeName")
    if name:
        volume = next((one for one in snapshot.volumes if one["metadata"]["name"] == name), None)
        return _named(snapshot, volume)
    fitting = [one for one in snapshot.volumes if fits(one, snapshot)]
    if fitting:
        best = min(fitting, key=lambda one: (not _claimed_by(one, claim), _size(one), one["metadata"]["name"]))
        return writes.Decision(tuple(_bind(claim, best)))
    return _make(snapshot)


def _unprotected(snapshot: Snapshot) -> list[writes.Write]:
    metadata = snapshot.claim["metadata"]
    if snapshot.used or PROTECTION not in (metadata.get("finalizers") or ()):
        return []
    left = [one for one in metadata["finalizers"] if one != PROTECTION]
    return [writes.patch_of(kinds.PERSISTENT_VOLUME_CLAIM, snapshot.claim, {"metadata": {"finalizers": left or None}})]


def _named(snapshot: Snapshot, volume: Object | None) -> writes.Decision:
    claim = snapshot.claim
    if volume is None:
        bound = (claim["metadata"].get("annotations") or {}).get(_COMPLETED)
        if not bound or (claim.get("status") or {}).get("phase") == "Lost":
            return writes.NOTHING
        why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        lost = writes.patch_of(
            kinds.PERSISTENT_VOLUME_CLAIM, claim, {"status": {"phase": "Lost"}}, subresource="status"
        )
        return writes.Decision((writes.Note(claim, "Warning", "ClaimLost", why), lost))
    reference = volume["spec"].get("claimRef")
    if reference and not _claimed_by(volume, claim):
        why = f'volume "{volume["metadata"]["name"]}" already bound to a different claim.'
        return writes.Decision((writes.Note(claim, "Warning", "FailedBinding", why),))
    return writes.Decision(tuple(_bind(claim, volume)))


def fits(volume: Object, snapshot: Snapshot) -> bool:
    """Whether the claim may have that volume."""
    claim, spec = snapshot.claim, volume["spec"]
    wanted = claim["spec"]
    if volume["metadata"].get("deletionTimestamp") or (volume.get("status") or {}).get("phase") in (
        "Released",
        "Failed",
    ):
        return False
    if spec.get("claimRef"):
        return _claimed_by(volume, claim)
    return (
        str(spec.get("storageClassName") or "") == snapshot.class_name
        and set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ())
        and spec.get("volumeMode", "Filesystem") == wanted.get("volumeMode", "Filesystem")
        and _size(volume) >= _asked(claim)
        and (not wanted.get("selector") or selectors.from_object(wanted["selector"]).matches(_labels(volume)))
    )


def _labels(volume: Object) -> Object:
    return dict(volume["metadata"].get("labels") or {})


def _claimed_by(volume: Object, claim: Object) -> bool:
    reference, metadata = volume["spec"].get("claimRef") or {}, claim["metadata"]
    same = (reference.get("namespace"), reference.get("name")) == (metadata["namespace"], metadata["name"])
    return same and reference.get("uid") in (None, "", metadata["uid"])


def _size(volume: Object) -> float:
    return float(quantity.parse(str((volume["spec"].get("capacity") or {}).get("storage") or "0")))


def _asked(claim: Object) -> float:
    return float(quantity.parse(str(_storage(claim))))


def _storage(claim: Object) -> str:
    return str(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0")


def _reference(claim: Object) -> Object:
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _bind(claim: Object, volume: Object) -> list[writes.Write]:
    """Both sides name each other, the volume first; what is so already is not written again."""
    found: list[writes.Write] = []
    name = volume["metadata"]["name"]
    if (volume["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]:
        found.append(writes.patch_of(kinds.PERSISTENT_VOLUME, volume, {"spec": {"claimRef": _reference(claim)}}))
    if claim["spec"].get("volumeName") != name or not (claim["metadata"].get("annotations") or {}).get(_COMPLETED):
        annotations = {_COMPLETED: "yes", **({} if claim["spec"].get("volumeName") else {_BOUND_BY: "yes"})}
        change = {"metadata": {"annotations": annotations}, "spec": {"volumeName": name}}
        found.append(writes.patch_of(kinds.PERSISTENT_VOLUME_CLAIM, claim, change))
    found += _grown(claim, volume)
    status = {"phase": "Bound", "accessModes": volume["spec"].get("accessModes"), "capacity": _capacity(claim, volume)}
    known = claim.get("status") or {}
    if any(known.get(field) != value for field, value in status.items()):
        found.append(writes.patch_of(kinds.PERSISTENT_VOLUME_CLAIM, claim, {"status": status}, subresource="status"))
    return found


def _ours(volume: Object) -> bool:
    return bool((volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER)


def _capacity(claim: Object, volume: Object) -> Object:
    grows = _ours(volume) and _asked(claim) > _size(volume)
    return {"storage": _storage(claim)} if grows else dict(volume["spec"].get("capacity") or {})


def _grown(claim: Object, volume: Object) -> list[writes.Write]:
    """A folder has no size of its own: a claim that asks for more has it."""
    if not _ours(volume) or _asked(claim) <= _size(volume) or not volume["metadata"].get("uid"):
        return []
    change = {"spec": {"capacity": {"storage": _storage(claim)}}}
    return [writes.patch_of(kinds.PERSISTENT_VOLUME, volume, change)]


def _make(snapshot: Snapshot) -> writes.Decision:
    claim = snapshot.claim
    found = snapshot.storage_class or {}
    why = ""
    if not snapshot.class_name or found.get("provisioner") == _STATIC:
        why = "no persistent volumes available for this claim and no storage class is set"
    elif not snapshot.folder:
        why = "Waiting for a volume to be created: volumes are not made here"
    elif claim["spec"].get("volumeMode") == "Block":
        why = "volumeMode Block is not offered: volumes are folders here"
    elif claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef"):
        why = "dataSource is not offered: a new volume is an empty folder here"
    if why:
        return writes.Decision((writes.Note(claim, "Warning", "FailedBinding", why),))
    volume = _folder(snapshot, found)
    name = volume["metadata"]["name"]
    path = volume["spec"]["hostPath"]["path"]
    text = f"Successfully provisioned volume {name}: the folder {path}, its size is not enforced"
    if found.get("provisioner") != PROVISIONER:
        text += f" (class {snapshot.class_name} has no provisioner here)"
    told = writes.Told(
        claim, ("ProvisioningSucceeded", text), ("ProvisioningFailed", "failed to provision volume: {error}")
    )
    made = writes.Create(kinds.PERSISTENT_VOLUME, volume, told)
    return writes.Decision((made, *_bind(claim, volume)))


def _folder(snapshot: Snapshot, storage_class: Object) -> Object:
    claim = snapshot.claim
    name = f"pvc-{claim['metadata']['uid']}"
    return {
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": _storage(claim)},
            "accessModes": claim["spec"].get("accessModes"),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": snapshot.class_name,
            "volumeMode": "Filesystem",
            "hostPath": {"path": f"{snapshot.folder}/{name}", "type": "DirectoryOrCreate"},
            "claimRef": _reference(claim),
        },
    }
