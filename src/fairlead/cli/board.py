"""What a person wants to know while an application comes up: a pure view of workloads and pods as rows.

A workload is ready when its controller has seen its newest spec and all wanted replicas are available; a pod by its
Ready condition. What failed says why in the pod's own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Object = dict[str, Any]
State = Literal["starting", "ready", "failed", "stopping"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line: `title` is kind/name, `state` how it is, `detail` what to know about it."""

    title: str
    state: State
    detail: str = ""


def title(kind: str, namespace: str, name: str) -> str:
    """kind/name, with the namespace between them where it is not `default`."""
    return "/".join((kind.lower(), *(() if namespace == "default" else (namespace,)), name))


def owners(pod: Object) -> set[str]:
    """The titles of what a Pod may have been made for: itself, its controller, the Deployment behind a ReplicaSet."""
    metadata = pod["metadata"]
    namespace = metadata["namespace"]
    found = {title("Pod", namespace, metadata["name"])}
    for one in metadata.get("ownerReferences") or ():
        found.add(title(one["kind"], namespace, one["name"]))
        if one["kind"] == "ReplicaSet":
            found.add(title("Deployment", namespace, one["name"].rpartition("-")[0]))
    return found


def workload(obj: Object, kind: str) -> Row:
    """A Deployment, StatefulSet, DaemonSet or ReplicaSet (objects in lists do not name their kind)."""
    spec, status, metadata = obj.get("spec", {}), obj.get("status", {}), obj["metadata"]
    called = title(kind, metadata["namespace"], metadata["name"])
    wanted = status.get("desiredNumberScheduled", 0) if kind == "DaemonSet" else spec.get("replicas", 1)
    available = status.get("availableReplicas", status.get("numberAvailable", 0)) or 0
    updated = status.get("updatedReplicas", status.get("updatedNumberScheduled", available)) or 0
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    detail = f"{available}/{wanted} available"
    failed = next((c for c in status.get("conditions", ()) if _is_failure(c)), None)
    if failed:
        return Row(called, "failed", f"{detail}: {failed.get('message', '')}")
    return Row(called, "ready" if seen and available >= wanted and updated >= wanted else "starting", detail)


def _is_failure(condition: Object) -> bool:
    if condition["type"] == "ReplicaFailure":
        return bool(condition["status"] == "True")
    return bool(
        condition["type"] == "Progressing"
        and condition["status"] == "False"
        and condition.get("reason") != "DeploymentPaused"
    )


def pod(obj: Object) -> Row:
    """A Pod: why it waits or failed comes from its container statuses."""
    called = title("Pod", obj["metadata"]["namespace"], obj["metadata"]["name"])
    status = obj.get("status", {})
    if obj["metadata"].get("deletionTimestamp"):
        return Row(called, "stopping")
    if status.get("phase") == "Failed":
        return Row(called, "failed", status.get("message") or status.get("reason", ""))
    if status.get("phase") == "Succeeded":
        return Row(called, "ready", "completed")
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "", "ContainerCreating", "PodInitializing"):
            return Row(called, "failed", f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": "))
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
    running = status.get("phase") == "Running"
    return Row(called, "ready" if ready else "starting", "" if ready else "not ready yet" if running else "pending")
