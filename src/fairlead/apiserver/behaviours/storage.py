"""PersistentVolumeClaims and PersistentVolumes: their defaults, the default class, and what keeps them while in use.

Follows the admission plugins DefaultStorageClass and StorageObjectInUseProtection and `pkg/apis/core/v1/defaults.go`.
Taking the finalizers off again, binding and making volumes is the work of `controllers.volumes`.
"""

from __future__ import annotations

from typing import Any

from fairlead.api.defaults import network
from fairlead.api.validation import config
from fairlead.apiserver.behaviours import base, simple

Object = dict[str, Any]
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
LOCAL = "fairlead.dev/local"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class Claims(simple.Simple):
    """PersistentVolumeClaims."""

    def __init__(self) -> None:
        super().__init__(default=network.claim, status={"phase": "Pending"}, validate=config.validate_claim)

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        super().admit_create(obj, around)
        _protect(obj, CLAIM_PROTECTION)
        spec = obj["spec"]
        if spec.get("storageClassName") is None:
            default = _default_class(around)
            if default:
                spec["storageClassName"] = default


class Volumes(simple.Simple):
    """PersistentVolumes."""

    def __init__(self) -> None:
        super().__init__(default=_volume, status={"phase": "Pending"})

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        super().admit_create(obj, around)
        _protect(obj, VOLUME_PROTECTION)


class Classes(simple.Simple):
    """StorageClasses. One whose provisioner does not run here is stored, and its claims get what all claims get."""

    def __init__(self) -> None:
        super().__init__(default=_class)

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        super().admit_create(obj, around)
        provisioner = obj.get("provisioner")
        if provisioner not in (LOCAL, "kubernetes.io/no-provisioner"):
            around.warn(f"provisioner {provisioner} does not run in fairlead: claims of this class get a local folder")


def _class(obj: Object) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _volume(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if isinstance(spec.get("hostPath"), dict):
        spec["hostPath"].setdefault("type", "")


def _protect(obj: Object, finalizer: str) -> None:
    metadata = obj["metadata"]
    if finalizer not in (metadata.get("finalizers") or ()):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), finalizer]


def _default_class(around: base.Surroundings) -> str:
    """The newest class that is marked as the default; "" without one."""
    marked = [
        one["metadata"]
        for one in around.list("storageclasses.storage.k8s.io")
        if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    newest = max(marked, key=lambda metadata: str(metadata.get("creationTimestamp")), default=None)
    return str(newest["name"]) if newest else ""
