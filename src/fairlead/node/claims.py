"""Where the volume behind a PersistentVolumeClaim is: a folder of this machine, or the reason why the pod must wait.

`hostPath` and `local` volumes are folders; every other kind of PersistentVolume is refused by name. A claim of access
mode ReadWriteOncePod is one pod's at a time (KEP-2485).
"""

from __future__ import annotations

from typing import Any

from fairlead.api import kinds
from fairlead.client import errors, protocol
from fairlead.node import env

Object = dict[str, Any]
KIND = "PersistentVolumeClaim"
EXCLUSIVE = "ReadWriteOncePod"


def name_of(pod: Object, volume: Object) -> str:
    """The claim behind that volume of the pod; "" for volumes of other kinds."""
    if volume.get("ephemeral") is not None:
        return f"{pod['metadata']['name']}-{volume['name']}"
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))


async def find(client: protocol.Client, namespace: str, name: str) -> Object:
    """`{"path": ..., "readOnly": ..., "create": ...}`. Raises EnvProblem with the kubelet's message."""
    claim = await _get(client, kinds.PERSISTENT_VOLUME_CLAIM, name, namespace)
    if claim is None:
        raise env.EnvProblem(f'persistentvolumeclaim "{name}" not found')
    if claim["metadata"].get("deletionTimestamp"):
        raise env.EnvProblem(f'persistentvolumeclaim "{name}" is being deleted')
    volume_name = claim["spec"].get("volumeName")
    if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
        raise env.EnvProblem(f'pod has unbound immediate PersistentVolumeClaims: "{name}"')
    volume = await _get(client, kinds.PERSISTENT_VOLUME, volume_name, "")
    if volume is None:
        raise env.EnvProblem(f'persistentvolume "{volume_name}" of claim "{name}" not found')
    return {**_folder(volume), "exclusive": claim["spec"].get("accessModes") == [EXCLUSIVE]}


def used_by(pod: Object) -> set[str]:
    """The claims that a pod uses."""
    return {name for volume in pod["spec"].get("volumes") or [] if (name := name_of(pod, volume))}


async def _get(client: protocol.Client, kind: kinds.Kind, name: str, namespace: str) -> Object | None:
    try:
        return await client.get(kind, name, namespace=namespace)
    except errors.ApiError as error:
        if error.not_found:
            return None
        raise env.EnvProblem(f"{kind.kind} {name} cannot be read: {error}") from error


def _folder(volume: Object) -> Object:
    spec, name = volume["spec"], volume["metadata"]["name"]
    if spec.get("volumeMode") == "Block":
        raise env.EnvProblem(f'persistentvolume "{name}": volumeMode Block is not offered')
    modes = set(spec.get("accessModes") or ())
    read_only = modes == {"ReadOnlyMany"}
    if spec.get("hostPath"):
        create = spec["hostPath"].get("type") in ("DirectoryOrCreate", "", None)
        return {"path": spec["hostPath"]["path"], "readOnly": read_only, "create": create}
    if spec.get("local"):
        return {"path": spec["local"]["path"], "readOnly": read_only, "create": False}
    known = {"accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
             "storageClassName", "volumeMode", "volumeAttributesClassName"}  # fmt: skip
    kind = next((word for word in spec if word not in known), "nothing")
    raise env.EnvProblem(f'persistentvolume "{name}": {kind} volumes are not offered; known are hostPath and local')
