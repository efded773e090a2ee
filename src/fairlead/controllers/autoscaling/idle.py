"""Scale to zero and back: when a Service's workload may sleep and when it must wake. Pure.

A Service with `fairlead.dev/idle-seconds: "300"` sends the workload behind it to zero replicas after so long without
a request; demand on the empty Service wakes it with one pod (or its HPA's minReplicas), and the HPA, which leaves a
workload at zero alone, takes over from there. Traffic that is not known keeps a workload awake, and so does a pod that
is not available yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api.problem import Problem
from fairlead.controllers.writes import Object

ANNOTATION = "fairlead.dev/idle-seconds"
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`replicas` are those wanted of the workload; times are seconds since 1970, `demanded_at` None without demand."""

    idle_seconds: float
    replicas: int
    least_awake: int
    active_at: float
    demanded_at: float | None
    now: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The replicas that should be, why, and when to look again (None: only demand matters)."""

    replicas: int
    reason: str = ""
    again_seconds: float | None = None


def read(service: Object) -> float | Problem | None:
    """The annotation's value; a Problem when it is no number of at least one; None without it."""
    text = (service["metadata"].get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_SECONDS <= seconds <= 86400 * 30:
        name = f"Service/{service['metadata']['namespace']}/{service['metadata']['name']}"
        message = f"{text!r} is not a number of seconds from 1 to 2592000"
        return Problem(name, f"metadata.annotations[{ANNOTATION}]", "InvalidAnnotation", message)
    return seconds


def decide(snapshot: Snapshot) -> Verdict:
    """Sleep, wake, or leave it."""
    if snapshot.replicas == 0:
        if snapshot.demanded_at is None:
            return Verdict(0, again_seconds=1.0)
        return Verdict(max(1, snapshot.least_awake), "requests wait for a pod")
    active_at = max(snapshot.active_at, snapshot.demanded_at or 0.0)
    left = active_at + snapshot.idle_seconds - snapshot.now
    if left > 0:
        return Verdict(snapshot.replicas, again_seconds=min(left, 1.0))
    return Verdict(0, f"no request for {snapshot.idle_seconds:g} s")
