"""How many replicas one metric asks for: Kubernetes' replica calculator, as pure functions.

Follows `pkg/controller/podautoscaler/replica_calculator.go`: desired = ceil(ratio x pods); inside the tolerance
nothing changes; a pod without a sample counts as idle when the metric asks for more and as just on target when it
asks for less; a pod that is not ready yet counts as idle when the metric asks for more and is otherwise left out.
With `warms_up` (CPU, and what the engine measures) a pod counts as not ready until its whole window is of the time
since it became ready.

Two things are different, on purpose. A pod that is ready, but younger than the window, counts with what it has done
since (`Sample.part_milli`) instead of as idle when the metric asks for more, and as just on target when it asks for
less: Kubernetes' rule would lose the load that new pods took over from old ones, and see it again a window later. And
when more pods are ready than the target wants (a rollout's surge), the tolerance is judged on the load over the
replicas wanted, so that a rollout alone never changes their number (kubernetes#84142).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.api import quantity
from fairlead.base import clock as clocks
from fairlead.controllers import conditions, pods
from fairlead.controllers.autoscaling.metrics import Sample
from fairlead.controllers.writes import Object


class MetricError(Exception):
    """This metric asks for nothing; the message says why, in Kubernetes' words."""


class NotYet(MetricError):
    """Nothing is measured, as at every start: only where that lasts something is wrong."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio may be from 1 before anything changes."""

    up: float = 0.1
    down: float = 0.1

    def holds(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Timing:
    """`--horizontal-pod-autoscaler-cpu-initialization-period` and `-initial-readiness-delay`."""

    cpu_initialization_seconds: float = 300.0
    initial_readiness_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a metric asks for, and its present value: per pod or in all, in thousandths; percent for utilization."""

    replicas: int
    average_milli: int = 0
    utilization: int | None = None
    total_milli: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class _Ratio:
    """The present value over the target: of whole per cents or thousandths as Kubernetes has it, and as it is."""

    rounded: float
    exact: float


@dataclass(frozen=True, slots=True)
class _Groups:
    """Pods by what their samples are worth. `parts` are of those among the unready that are ready but young."""

    ready: list[str]
    unready: list[str]
    missing: list[str]
    parts: dict[str, int]

    def counted(self, samples: Mapping[str, Sample]) -> dict[str, int]:
        """The values to begin with: those of the pods that count; while there are none, the parts of the young."""
        return {name: samples[name].milli for name in self.ready} or dict(self.parts)


def _group(
    all_pods: Sequence[Object], samples: Mapping[str, Sample], *, warms_up: bool, timing: Timing, now: float
) -> _Groups:
    groups = _Groups([], [], [], {})
    for pod in all_pods:
        name = pod["metadata"]["name"]
        if pods.terminating(pod) or pods.phase(pod) == "Failed":
            continue
        if pods.phase(pod) == "Pending":
            groups.unready.append(name)
        elif name not in samples:
            groups.missing.append(name)
        elif warms_up and _warming_up(pod, samples[name], timing, now):
            groups.unready.append(name)
            part = samples[name].part_milli
            if part is not None and pods.ready(pod):
                groups.parts[name] = part
        else:
            groups.ready.append(name)
    return groups


def _warming_up(pod: Object, sample: Sample, timing: Timing, now: float) -> bool:
    """The sample says more about the pod's start than about its work."""
    condition = conditions.find(pod, "Ready")
    started = (pod.get("status") or {}).get("startTime")
    if condition is None or not started:
        return True
    start, changed = clocks.parse_rfc3339(started), clocks.parse_rfc3339(condition["lastTransitionTime"])
    is_ready = condition["status"] == "True"
    if is_ready and sample.ready_at is not None:
        changed = sample.ready_at
    # One that starts later than now was begun before the clock was set.
    if start <= now < start + timing.cpu_initialization_seconds:
        return not is_ready or sample.at < changed + sample.window_seconds
    return not is_ready and start + timing.initial_readiness_seconds > changed


def for_utilization(
    *,
    current: int,
    percent: int,
    all_pods: Sequence[Object],
    samples: Mapping[str, Sample],
    requests: Mapping[str, int],
    warms_up: bool,
    tolerance: Tolerance,
    timing: Timing,
    now: float,
) -> Asked:
    """Resource or ContainerResource with a target of `averageUtilization` percent of the pods' requests."""
    groups = _usable(all_pods, samples, warms_up=warms_up, timing=timing, now=now)
    counted = groups.counted(samples)

    def ratio_of(values: Mapping[str, int]) -> _Ratio:
        exact = sum(values.values()) * 100 / max(1, sum(requests[name] for name in values)) / percent
        return _Ratio(_percent(values, requests) / percent, exact)

    filler = {name: requests[name] * max(100, percent) // 100 for name in groups.missing}
    filler |= {name: requests[name] * percent // 100 for name in groups.parts}
    wanted = _wanted(current, groups, counted, ratio_of, filler, tolerance)
    return Asked(wanted, sum(counted.values()) // len(counted), _percent(counted, requests))


def _percent(values: Mapping[str, int], requests: Mapping[str, int]) -> int:
    total = sum(requests[name] for name in values)
    if total == 0:
        raise MetricError("no metrics returned matched known pods")
    return sum(values.values()) * 100 // total


def for_average(
    *,
    current: int,
    target_milli: int,
    all_pods: Sequence[Object],
    samples: Mapping[str, Sample],
    warms_up: bool,
    tolerance: Tolerance,
    timing: Timing,
    now: float,
) -> Asked:
    """Resource, ContainerResource or Pods with a target of `averageValue`."""
    groups = _usable(all_pods, samples, warms_up=warms_up, timing=timing, now=now)
    counted = groups.counted(samples)

    def ratio_of(values: Mapping[str, int]) -> _Ratio:
        total = sum(values.values())
        return _Ratio(total // len(values) / target_milli, total / len(values) / target_milli)

    filler = dict.fromkeys([*groups.missing, *groups.parts], target_milli)
    wanted = _wanted(current, groups, counted, ratio_of, filler, tolerance)
    return Asked(wanted, sum(counted.values()) // len(counted))


def _usable(
    all_pods: Sequence[Object], samples: Mapping[str, Sample], *, warms_up: bool, timing: Timing, now: float
) -> _Groups:
    if not all_pods:
        raise NotYet("no pods returned by selector while calculating replica count")
    if not samples:
        raise NotYet("no metrics returned from resource metrics API")
    groups = _group(all_pods, samples, warms_up=warms_up, timing=timing, now=now)
    if not groups.ready and not groups.parts:
        raise NotYet("did not receive metrics for targeted pods (pods might be unready)")
    return groups


def _wanted(
    current: int,
    groups: _Groups,
    counted: dict[str, int],
    ratio_of: Callable[[Mapping[str, int]], _Ratio],
    filler: Mapping[str, int],
    tolerance: Tolerance,
) -> int:
    first = max(ratio_of(counted), ratio_of(counted | groups.parts))
    ratio = first.rounded
    grows_with_unready = bool(groups.unready) and ratio > 1.0
    shrinks_with_young = bool(groups.parts) and ratio < 1.0
    if not grows_with_unready and not shrinks_with_young and not groups.missing:
        over_wanted = _over_wanted(first.exact, len(counted), current)
        surge = len(counted) > current > 0
        if tolerance.holds(over_wanted) or (tolerance.holds(ratio) and not surge):
            return current
        return math.ceil(ratio * len(counted))
    values = dict(counted)
    if ratio < 1.0:
        values |= filler
    elif ratio > 1.0:
        values |= dict.fromkeys(groups.missing, 0)
    if grows_with_unready:
        values |= dict.fromkeys(groups.unready, 0) | groups.parts
    second = ratio_of(values)
    again = second.rounded
    if tolerance.holds(again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return current
    if tolerance.holds(_over_wanted(second.exact, len(values), current)):
        return current
    wanted = math.ceil(again * len(values))
    turned = (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current)
    return current if turned else wanted


def _over_wanted(ratio: float, count: int, current: int) -> float:
    """The load over the replicas that are wanted, instead of over the pods that happen to be counted."""
    return ratio * count / current if current > 0 else ratio


def for_value(
    *, current: int, value_milli: int, target_milli: int, all_pods: Sequence[Object], tolerance: Tolerance
) -> Asked:
    """Object or External with a target of `value`: the ratio applies to the ready pods."""
    ratio = value_milli / target_milli
    if current == 0:
        return Asked(math.ceil(ratio), total_milli=value_milli)
    if tolerance.holds(ratio):
        return Asked(current, total_milli=value_milli)
    if not all_pods:
        raise NotYet("no pods returned by selector while calculating replica count")
    ready = sum(pods.phase(pod) == "Running" and pods.ready(pod) for pod in all_pods)
    return Asked(math.ceil(ratio * ready), total_milli=value_milli)


def for_value_per_pod(*, current: int, value_milli: int, target_milli: int, tolerance: Tolerance) -> Asked:
    """Object or External with a target of `averageValue`: the value divided over the replicas."""
    wanted = current
    if current == 0 or not tolerance.holds(value_milli / (target_milli * current)):
        wanted = math.ceil(value_milli / target_milli)
    return Asked(wanted, average_milli=math.ceil(value_milli / current) if current else 0, total_milli=value_milli)


def requests_of(all_pods: Sequence[Object], *, resource: str, container: str = "") -> dict[str, int]:
    """Each pod's request in thousandths; of one container if named. Raises MetricError where one is missing."""
    found = {}
    for pod in all_pods:
        spec, name = pod["spec"], pod["metadata"]["name"]
        sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
        total = 0
        for one in [*spec["containers"], *sidecars]:
            if container and one["name"] != container:
                continue
            request = ((one.get("resources") or {}).get("requests") or {}).get(resource)
            if request is None:
                raise MetricError(f"missing request for {resource} in container {one['name']} of Pod {name}")
            total += quantity.milli(request)
        found[name] = total
    return found
