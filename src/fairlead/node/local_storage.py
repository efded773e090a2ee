"""What a pod takes of the node's disk against what it may: an emptyDir's `sizeLimit` and `limits.ephemeral-storage`.

As the kubelet's local storage eviction: an emptyDir against its own limit; a pod (logs and emptyDirs on the disk)
against the sum of its containers' limits; a container (its logs) against its own. What a container writes elsewhere is
not measured: a process writes into the host's own file system, and an engine is not asked for each container's layer.
`over_limit` is blocking.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairlead.api import quantity
from fairlead.node import folders, lifecycle, volumes

Object = dict[str, Any]
RESOURCE = "ephemeral-storage"
GRACE_SECONDS = 1.0  # who fills the disk is not waited for (the kubelet's immediateEvictionGracePeriodSeconds)


def is_limited(pod: Object) -> bool:
    """Whether anything of the pod's must be measured."""
    return volumes.has_limit(pod) or any(_limit(entry) for entry in lifecycle.all_containers(pod))


def refresh_seconds(pod: Object) -> float:
    """How often the pod's volumes and limits are looked at; 0 when nothing can change."""
    return volumes.REFRESH_SECONDS if is_limited(pod) else volumes.refresh_seconds(pod)


def over_limit(pod: Object, found: volumes.PodVolumes, folder: Path) -> str:
    """The kubelet's sentence about the first limit that is exceeded, or ""."""
    if volumes.has_limit(pod) and (why := found.over_limit(pod)):
        return why
    limits = {entry["name"]: _limit(entry) for entry in lifecycle.all_containers(pod)}
    if not any(limits.values()):
        return ""
    logs = {name: folders.used_bytes(folder / "logs" / name) for name in limits}
    total = _of_the_pod(pod, limits)
    if sum(logs.values()) + found.used_bytes(pod) > total:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {_shown(total)}. "
    for name, limit in limits.items():
        if limit and logs[name] > limit:
            return f'Container {name} exceeded its local ephemeral storage limit "{_shown(limit)}". '
    return ""


def _limit(container: Object) -> int:
    """The container's limit in bytes; 0 without one."""
    text = ((container.get("resources") or {}).get("limits") or {}).get(RESOURCE)
    return int(quantity.parse(str(text))) if text else 0


def _of_the_pod(pod: Object, limits: dict[str, int]) -> int:
    """What all containers may take together: init containers run before the others, sidecars beside them."""
    beside = sum(limits[entry["name"]] for entry in lifecycle.sidecars(pod))
    apps = sum(limits[entry["name"]] for entry in lifecycle.app_containers(pod))
    return max([apps + beside, *(limits[entry["name"]] for entry in lifecycle.init_containers(pod))])


def _shown(size: int) -> str:
    for unit, factor in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
