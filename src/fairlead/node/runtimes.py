"""Which runtime a pod gets: the one it had, the one its annotation names, a container engine for images that no
command is known for (with `--runtime podman` or `docker`: that `fairlead.yaml` does not map), else processes."""

from __future__ import annotations

from typing import Any

from fairlead.node import lifecycle, runtime, settings

Object = dict[str, Any]
ANNOTATION = "fairlead.dev/runtime"


def choose(pod: Object, doors: settings.Doors, before: str) -> runtime.Runtime:
    """The runtime of that pod; `before` is the one of an earlier life, "" for a new pod."""
    if doors.containers is None or before == "process":
        return doors.processes
    if before == "container":
        return doors.containers
    wanted = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
    if wanted in ("process", "container"):
        return doors.containers if wanted == "container" else doors.processes
    unknown = [
        container
        for container in lifecycle.all_containers(pod)
        if (doors.prefer_containers or not container.get("command"))
        and doors.images.find(container.get("image") or "") is None
    ]
    return doors.containers if unknown else doors.processes
