"""What controllers ask of pods: active, ready, available, which to delete first (Kubernetes' `controller_utils`)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fairlead.base import clock as clocks
from fairlead.controllers import conditions
from fairlead.controllers.writes import Object

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
HELD_SECONDS = "heldSeconds"  # in a snapshot only: the planes do not serve the pod yet (`serving_gate`)
_TOLERATED_SECONDS = 2.0  # times are told in whole seconds
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def finished(pod: Object) -> bool:
    """Succeeded or Failed."""
    return phase(pod) in ("Succeeded", "Failed")


def terminating(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def active(pod: Object) -> bool:
    """Neither finished nor being deleted."""
    return not finished(pod) and not terminating(pod)


def ready(pod: Object) -> bool:
    # The hottest question of all controllers: asked of every pod at every change of one of them.
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready":
            return bool(condition["status"] == "True")
    return False


def ready_since(pod: Object) -> float | None:
    """When the pod became ready, in seconds since 1970."""
    condition = conditions.find(pod, "Ready")
    if condition is None or condition["status"] != "True":
        return None
    stamp = condition.get("lastTransitionTime")
    return clocks.parse_rfc3339(stamp) if stamp else None


def available_in_seconds(pod: Object, *, min_ready_seconds: float, now: float) -> float | None:
    """0 when the pod is available, the time until it is when it is only ready, None when it is not ready."""
    if not ready(pod):
        return None
    held = float(pod.get(HELD_SECONDS, 0.0))
    if min_ready_seconds <= 0:
        return held
    since = ready_since(pod)
    if since is None:
        return None
    if since > now + _TOLERATED_SECONDS:  # the clock was set back since, and nobody knows how long it has been ready
        return held
    return max(held, since + min_ready_seconds - now)


def available(pod: Object, *, min_ready_seconds: float, now: float) -> bool:
    return available_in_seconds(pod, min_ready_seconds=min_ready_seconds, now=now) == 0.0


def deletion_order(pods: Iterable[Object], *, now: float) -> list[Object]:
    """The pods, the one to delete first first: unassigned, pending, not ready, cheap, more on its node, younger."""
    all_pods = list(pods)
    crowd: dict[str, int] = {}
    for pod in all_pods:
        node = pod.get("spec", {}).get("nodeName", "")
        crowd[node] = crowd.get(node, 0) + 1
    return sorted(all_pods, key=lambda pod: _rank(pod, crowd, now))


def _rank(pod: Object, crowd: dict[str, int], now: float) -> tuple[float | str, ...]:
    node = pod.get("spec", {}).get("nodeName", "")
    since = ready_since(pod)
    created = clocks.parse_rfc3339(pod["metadata"].get("creationTimestamp") or clocks.rfc3339(now))
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    restarts = max((int(status.get("restartCount", 0)) for status in statuses), default=0)
    return (
        bool(node),
        _PHASES.get(phase(pod), 1),
        ready(pod),
        deletion_cost(pod),
        -crowd[node],
        _age_class(now - since) if since is not None else 0,
        -restarts,
        _age_class(now - created),
        pod["metadata"].get("uid", ""),
    )


def _age_class(seconds: float) -> int:
    """Ages compare by their logarithm (KEP-2185), so that close ones do not decide."""
    return int(math.log2(seconds)) + 1 if seconds >= 1 else 0


def deletion_cost(pod: Object) -> int:
    """The annotation's value; 0 when it is absent or not a number."""
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def from_template(template: Object, *, owner: Object, reference: Object) -> Object:
    """The pod that an owner makes of its template."""
    wanted = template.get("metadata") or {}
    metadata: Object = {
        "generateName": f"{owner['metadata']['name']}-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [reference],
    }
    for name in ("labels", "annotations", "finalizers"):
        if wanted.get(name):
            metadata[name] = wanted[name]
    return {"metadata": metadata, "spec": template["spec"]}
