"""A budget's status: a pure function of the budget, its pods, and how many there are to be.

Follows Kubernetes' `pkg/controller/disruption`: the API server's eviction lowers `disruptionsAllowed` and notes the
pod in `disruptedPods`; this controller counts anew and forgets what it noted once the pod is gone, or after two
minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.controllers import conditions, pods, writes
from fairlead.controllers.deployment import spec as limits
from fairlead.controllers.writes import Object

DISRUPTED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`scale` is the sum of the replicas that the pods' controllers want; None: a pod has no controller that says."""

    budget: Object
    pods: Sequence[Object]
    scale: int | None
    now: float


def decide(snapshot: Snapshot) -> writes.Decision:
    """The status, and when a noted eviction is to be forgotten."""
    budget, now = snapshot.budget, snapshot.now
    problem = _problem(snapshot)
    if problem:
        note = writes.Note(budget, "Warning", "NoControllers", problem)
        status = _status(snapshot, 0, 0, {}, allowed=0, reason="SyncFailed", message=problem)
        return writes.Decision((note, *_written(budget, status)) if _changed(budget, status) else ())
    expected, desired = _expected(snapshot)
    disrupted = _disrupted(snapshot)
    healthy = sum(
        pods.ready(pod) and not pods.terminating(pod) and pod["metadata"]["name"] not in disrupted
        for pod in snapshot.pods
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    reason = "SufficientPods" if allowed > 0 else "InsufficientPods"
    status = _status(snapshot, expected, desired, disrupted, allowed=allowed, reason=reason, message="")
    status["currentHealthy"] = healthy
    ends = [clocks.parse_rfc3339(stamp) + DISRUPTED_SECONDS - now for stamp in disrupted.values()]
    return writes.Decision(_written(budget, status), min(ends) + 1 if ends else None)


def _problem(snapshot: Snapshot) -> str:
    spec = snapshot.budget["spec"]
    by_scale = spec.get("maxUnavailable") is not None or str(spec.get("minAvailable", "")).endswith("%")
    if by_scale and snapshot.scale is None:
        return "found no controller with a scale for some of the pods; use a number in minAvailable"
    return ""


def _expected(snapshot: Snapshot) -> tuple[int, int]:
    """(pods expected, pods that must stay healthy)."""
    spec = snapshot.budget["spec"]
    if spec.get("maxUnavailable") is not None:
        expected = snapshot.scale or 0
        return expected, max(0, expected - limits.resolve(spec["maxUnavailable"], expected, up=True))
    wanted = spec.get("minAvailable")
    if isinstance(wanted, str) and wanted.endswith("%"):
        expected = snapshot.scale or 0
        return expected, limits.resolve(wanted, expected, up=True)
    return len(snapshot.pods), int(wanted or 0)


def _disrupted(snapshot: Snapshot) -> dict[str, str]:
    standing = {pod["metadata"]["name"] for pod in snapshot.pods if not pods.terminating(pod)}
    noted = (snapshot.budget.get("status") or {}).get("disruptedPods") or {}
    return {
        name: stamp
        for name, stamp in noted.items()
        if name in standing and clocks.parse_rfc3339(stamp) + DISRUPTED_SECONDS > snapshot.now
    }


def _status(
    snapshot: Snapshot,
    expected: int,
    desired: int,
    disrupted: dict[str, str],
    *,
    allowed: int,
    reason: str,
    message: str,
) -> Object:
    budget = snapshot.budget
    found = conditions.put(
        (budget.get("status") or {}).get("conditions") or [],
        type_="DisruptionAllowed",
        status=str(allowed > 0),
        reason=reason,
        message=message,
        now=snapshot.now,
    )
    found = [{**one, "observedGeneration": budget["metadata"].get("generation", 0)} for one in found]
    return {
        "observedGeneration": budget["metadata"].get("generation", 0),
        "currentHealthy": 0,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "disruptedPods": disrupted,
        "conditions": found,
    }


def _changed(budget: Object, status: Object) -> bool:
    return not conditions.same_status(budget.get("status"), status)


def _written(budget: Object, status: Object) -> tuple[writes.Write, ...]:
    return (
        (writes.Update(kinds.POD_DISRUPTION_BUDGET, {**budget, "status": status}, "status"),)
        if _changed(budget, status)
        else ()
    )
