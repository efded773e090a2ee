"""Pods and samples as Kubernetes' replica calculator tests make them."""

from collections.abc import Sequence
from typing import Any

from fairlead.base import clock as clocks
from fairlead.controllers.autoscaling import metrics, replicas

Object = dict[str, Any]
NOW = 1_700_000_000.0
TIMING = replicas.Timing(cpu_initialization_seconds=120.0, initial_readiness_seconds=10.0)
WINDOW = 60.0
COLD, HOT = 600.0, 30.0  # age in seconds: past its start, or still warming up


def pod(
    index: int,
    *,
    ready: bool = True,
    phase: str = "Running",
    age: float = COLD,
    cpu: float | None = 1.0,
    deleted: bool = False,
    containers: Sequence[float] = (),
) -> Object:
    stamp = clocks.rfc3339(NOW - age)
    metadata: Object = {"name": f"pod-{index}", "namespace": "default"}
    if deleted:
        metadata["deletionTimestamp"] = stamp
    requests = containers or ((cpu,) if cpu is not None else (None,))
    specs = [
        {"name": f"c{number}", "resources": {"requests": {"cpu": f"{round(request * 1000)}m"}} if request else {}}
        for number, request in enumerate(requests)
    ]
    return {
        "metadata": metadata,
        "spec": {"containers": specs},
        "status": {
            "phase": phase,
            "startTime": stamp,
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": stamp}],
        },
    }


def samples(*levels: int, first: int = 0) -> dict[str, metrics.Sample]:
    """Thousandths by pod, from pod `first` on."""
    return {f"pod-{index}": metrics.Sample(level, NOW, WINDOW) for index, level in enumerate(levels, first)}


def young(level: int, index: int, *, share: float) -> dict[str, metrics.Sample]:
    """A pod that has been ready for that share of the window and did `level` since."""
    ready_at = NOW - share * WINDOW
    return {f"pod-{index}": metrics.Sample(level, NOW, WINDOW, ready_at, int(level * share))}


def utilization(
    current: int, percent: int, all_pods: list[Object], levels: dict[str, metrics.Sample], *, tolerance: float = 0.1
) -> replicas.Asked:
    return replicas.for_utilization(
        current=current,
        percent=percent,
        all_pods=all_pods,
        samples=levels,
        requests=replicas.requests_of(all_pods, resource="cpu"),
        warms_up=True,
        tolerance=replicas.Tolerance(tolerance, tolerance),
        timing=TIMING,
        now=NOW,
    )


def average(current: int, target: int, all_pods: list[Object], levels: dict[str, metrics.Sample]) -> replicas.Asked:
    return replicas.for_average(
        current=current,
        target_milli=target,
        all_pods=all_pods,
        samples=levels,
        warms_up=False,
        tolerance=replicas.Tolerance(),
        timing=TIMING,
        now=NOW,
    )
