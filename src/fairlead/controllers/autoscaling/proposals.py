"""What each metric of an HPA asks for, and which of them wins. Pure.

The largest proposal wins. When some metric cannot be computed, the others may scale up but not down (Kubernetes'
computeReplicasForMetrics).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.api import quantity
from fairlead.controllers.autoscaling import metrics, replicas
from fairlead.controllers.writes import Object

_FIELDS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """One metric's answer: what it asks for, how it is named in messages, its entry in `status.currentMetrics`."""

    name: str
    asked: replicas.Asked | None = None
    current: Object | None = None
    reason: str = ""
    problem: str = ""
    not_yet: bool = False  # the problem is that of every start


@dataclass(frozen=True, slots=True)
class Chosen:
    """The winner (None: no metric can be used) and all proposals in the order of the spec."""

    winner: Proposal | None
    all: tuple[Proposal, ...] = field(default_factory=tuple)

    @property
    def problem(self) -> Proposal | None:
        return next((proposal for proposal in self.all if proposal.problem), None)


def choose(
    metric_specs: Sequence[Object],
    observations: Sequence[metrics.Observation],
    *,
    current: int,
    all_pods: Sequence[Object],
    tolerance: replicas.Tolerance,
    timing: replicas.Timing,
    now: float,
) -> Chosen:
    """Every metric's proposal and the winner."""
    found = tuple(
        _propose(spec, seen, current=current, all_pods=all_pods, tolerance=tolerance, timing=timing, now=now)
        for spec, seen in zip(metric_specs, observations, strict=True)
    )
    valid = [proposal for proposal in found if proposal.asked is not None]
    if not valid:
        return Chosen(None, found)
    winner = max(valid, key=lambda proposal: proposal.asked.replicas if proposal.asked else 0)
    assert winner.asked is not None
    if len(valid) < len(found) and winner.asked.replicas < current:
        return Chosen(None, found)
    return Chosen(winner, found)


def _propose(
    spec: Object,
    seen: metrics.Observation,
    *,
    current: int,
    all_pods: Sequence[Object],
    tolerance: replicas.Tolerance,
    timing: replicas.Timing,
    now: float,
) -> Proposal:
    kind = spec["type"]
    given = spec.get(_FIELDS.get(kind, "")) or {}
    reason = f"FailedGet{kind}Metric"
    if not given:
        return Proposal(kind, reason="InvalidMetricSourceType", problem=f'unknown metric source type "{kind}"')
    if seen.problem:
        text = f"failed to get {_describe(kind, given)}: {seen.problem}"
        return Proposal("", reason=reason, problem=text, not_yet=seen.not_yet)
    try:
        if kind in ("Resource", "ContainerResource"):
            return _resource(kind, given, seen, current, all_pods, tolerance, timing, now)
        if kind == "Pods":
            return _pods(given, seen, current, all_pods, tolerance, timing, now)
        return _single(kind, given, seen, current, all_pods, tolerance)
    except (replicas.MetricError, quantity.QuantityError) as error:
        text = f"failed to get {_describe(kind, given)}: {error}"
        return Proposal("", reason=reason, problem=text, not_yet=isinstance(error, replicas.NotYet))


def _resource(
    kind: str,
    given: Object,
    seen: metrics.Observation,
    current: int,
    all_pods: Sequence[Object],
    tolerance: replicas.Tolerance,
    timing: replicas.Timing,
    now: float,
) -> Proposal:
    resource, container, target = given["name"], given.get("container", ""), given["target"]
    cpu = resource == "cpu"
    if target.get("averageUtilization") is not None:
        asked = replicas.for_utilization(
            current=current,
            percent=int(target["averageUtilization"]),
            all_pods=all_pods,
            samples=seen.pods,
            requests=replicas.requests_of(all_pods, resource=resource, container=container),
            warms_up=cpu,
            tolerance=tolerance,
            timing=timing,
            now=now,
        )
        words = f"{resource} {'container resource' if container else 'resource'} utilization (percentage of request)"
    else:
        asked = replicas.for_average(
            current=current,
            target_milli=_target(target, "averageValue"),
            all_pods=all_pods,
            samples=seen.pods,
            warms_up=cpu,
            tolerance=tolerance,
            timing=timing,
            now=now,
        )
        words = f"{resource} {'container resource' if container else 'resource'}"
    now_value: Object = {"averageValue": quantity.from_milli(asked.average_milli)}
    if asked.utilization is not None:
        now_value["averageUtilization"] = asked.utilization
    entry = {"name": resource, **({"container": container} if container else {}), "current": now_value}
    return Proposal(words, asked, {"type": kind, _FIELDS[kind]: entry})


def _pods(
    given: Object,
    seen: metrics.Observation,
    current: int,
    all_pods: Sequence[Object],
    tolerance: replicas.Tolerance,
    timing: replicas.Timing,
    now: float,
) -> Proposal:
    asked = replicas.for_average(
        current=current,
        target_milli=_target(given["target"], "averageValue"),
        all_pods=all_pods,
        samples=seen.pods,
        warms_up=True,
        tolerance=tolerance,
        timing=timing,
        now=now,
    )
    entry = {"metric": given["metric"], "current": {"averageValue": quantity.from_milli(asked.average_milli)}}
    return Proposal(f"pods metric {given['metric']['name']}", asked, {"type": "Pods", "pods": entry})


def _single(
    kind: str,
    given: Object,
    seen: metrics.Observation,
    current: int,
    all_pods: Sequence[Object],
    tolerance: replicas.Tolerance,
) -> Proposal:
    if seen.milli is None:
        raise replicas.MetricError("no metrics returned")
    target, name = given["target"], given["metric"]["name"]
    if target.get("averageValue") is not None:
        goal = _target(target, "averageValue")
        asked = replicas.for_value_per_pod(
            current=current, value_milli=seen.milli, target_milli=goal, tolerance=tolerance
        )
        now_value = {"averageValue": quantity.from_milli(asked.average_milli)}
    else:
        goal = _target(target, "value")
        asked = replicas.for_value(
            current=current, value_milli=seen.milli, target_milli=goal, all_pods=all_pods, tolerance=tolerance
        )
        now_value = {"value": quantity.from_milli(seen.milli)}
    entry = {"metric": given["metric"], "current": now_value}
    if kind == "Object":
        entry["describedObject"] = given["describedObject"]
    words = f"external metric {name}" if kind == "External" else f"{given['describedObject']['kind']} metric {name}"
    return Proposal(words, asked, {"type": kind, _FIELDS[kind]: entry})


def _target(target: Object, name: str) -> int:
    text = target.get(name)
    milli = quantity.milli(text) if text is not None else 0
    if milli <= 0:
        raise replicas.MetricError(f"invalid target: {name} must be positive")
    return milli


def _describe(kind: str, given: Object) -> str:
    if kind in ("Resource", "ContainerResource"):
        return f"{given['name']} {'container resource' if kind == 'ContainerResource' else 'resource'} metric value"
    return f"{kind.lower()} metric {given['metric']['name']}"
