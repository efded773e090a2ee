"""An HPA's decision: one pure function of (spec, target, pods, observations, history, now).

The controller applies it every second, `hpa replay` under virtual time, `explain` to say why. Follows
`pkg/controller/podautoscaler/horizontal.go`: conditions and Events in its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fairlead.controllers import conditions, pods
from fairlead.controllers.autoscaling import behaviour, metrics, panic, proposals, replicas
from fairlead.controllers.writes import Object


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`current` is the target's `spec.replicas`, `observed` its `status.replicas`; `pods` match its selector. `short`
    is what the short window saw, where the HPA has the annotation `fairlead.dev/panic`."""

    hpa: Object
    current: int
    observed: int
    pods: Sequence[Object]
    observations: Sequence[metrics.Observation]
    history: behaviour.History
    now: float
    timing: replicas.Timing = field(default_factory=replicas.Timing)
    short: Sequence[metrics.Observation] | None = None
    panic: panic.State = field(default_factory=panic.State)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What should be: replicas (as `current`: nothing to do), why, the status to write and the history to keep."""

    replicas: int
    reason: str
    status: Object
    history: behaviour.History
    chosen: proposals.Chosen = field(default_factory=lambda: proposals.Chosen(None))
    warning: tuple[str, str] | None = None  # reason and message of an Event
    panic: panic.State = field(default_factory=panic.State)


def minimum(spec: Object) -> int:
    found = spec.get("minReplicas")
    return 1 if found is None else int(found)


def decide(snapshot: Snapshot) -> Verdict:
    """The replicas that the target should have now."""
    spec = snapshot.hpa["spec"]
    low, high = minimum(spec), int(spec["maxReplicas"])
    able = behaviour.Reason("SucceededGetScale", "the HPA controller was able to get the target's current scale")
    found = _put(_conditions(snapshot.hpa), "AbleToScale", True, able, snapshot.now)
    if snapshot.current == 0 and low != 0:
        text = "scaling is disabled since the replica count of the target is zero"
        found = _put(found, "ScalingActive", False, behaviour.Reason("ScalingDisabled", text), snapshot.now)
        return _verdict(snapshot, 0, "", found, proposals.Chosen(None), snapshot.history)
    if snapshot.current > high:
        return _outside(snapshot, high, "Current number of replicas above Spec.MaxReplicas", found)
    if snapshot.current < low:
        return _outside(snapshot, low, "Current number of replicas below Spec.MinReplicas", found)
    return _by_metrics(snapshot, found, low, high)


def _outside(snapshot: Snapshot, replicas_wanted: int, reason: str, found: list[Object]) -> Verdict:
    history = snapshot.history.scaled(snapshot.now, before=snapshot.current, after=replicas_wanted)
    return _verdict(snapshot, replicas_wanted, reason, found, proposals.Chosen(None), history)


def _by_metrics(snapshot: Snapshot, found: list[Object], low: int, high: int) -> Verdict:
    spec, now = snapshot.hpa["spec"], snapshot.now
    rules = behaviour.read(spec)
    chosen = _choose(snapshot, rules, snapshot.observations)
    if chosen.winner is None or chosen.winner.asked is None:
        return _no_metric(snapshot, chosen, found)
    wanted, rules, state = _panicking(snapshot, rules, chosen.winner.asked.replicas)
    text = f"the HPA was able to successfully calculate a replica count from {chosen.winner.name}"
    found = _put(found, "ScalingActive", True, behaviour.Reason("ValidMetricFound", text), now)
    allowed = behaviour.allow(
        rules, snapshot.history, current=snapshot.current, wanted=wanted, minimum=low, maximum=high, now=now
    )
    found = _put(found, "AbleToScale", True, allowed.able, now)
    found = _put(found, "ScalingLimited", allowed.limited, allowed.limit, now)
    reason = ""
    if allowed.replicas > snapshot.current:
        reason = f"{chosen.winner.name} above target{' (panic)' if state.until > now else ''}"
    elif allowed.replicas < snapshot.current:
        reason = "All metrics below target"
    history = allowed.history.scaled(now, before=snapshot.current, after=allowed.replicas)
    return replace(_verdict(snapshot, allowed.replicas, reason, found, chosen, history), panic=state)


def _choose(
    snapshot: Snapshot, rules: behaviour.Behaviour, observations: Sequence[metrics.Observation]
) -> proposals.Chosen:
    return proposals.choose(
        metrics_of(snapshot.hpa["spec"]),
        observations,
        current=snapshot.current,
        all_pods=snapshot.pods,
        tolerance=rules.tolerance,
        timing=snapshot.timing,
        now=snapshot.now,
    )


def _panicking(
    snapshot: Snapshot, rules: behaviour.Behaviour, wanted: int
) -> tuple[int, behaviour.Behaviour, panic.State]:
    """What is wanted, and by which rules, with the short window in mind."""
    threshold = panic.read(snapshot.hpa)
    if snapshot.short is None or not isinstance(threshold, float):
        return wanted, rules, panic.State()
    winner = _choose(snapshot, rules, snapshot.short).winner
    asked = winner.asked.replicas if winner is not None and winner.asked is not None else None
    ready = sum(pods.ready(pod) and pods.active(pod) for pod in snapshot.pods)
    state = panic.advance(snapshot.panic, threshold=threshold, short=asked, ready=ready, now=snapshot.now)
    if state.until <= snapshot.now:
        return wanted, rules, state
    hasty = replace(rules, up=replace(rules.up, stabilization_seconds=0.0))
    return max(wanted, state.most, snapshot.current), hasty, state


def _no_metric(snapshot: Snapshot, chosen: proposals.Chosen, found: list[Object]) -> Verdict:
    problem = chosen.problem or proposals.Proposal("", reason="InvalidMetricSourceType", problem="no metrics given")
    invalid = sum(bool(proposal.problem) for proposal in chosen.all)
    why = behaviour.Reason(problem.reason, f"the HPA was unable to compute the replica count: {problem.problem}")
    found = _put(found, "ScalingActive", False, why, snapshot.now)
    text = f"invalid metrics ({invalid} invalid out of {len(chosen.all)}), first error is: {problem.problem}"
    warning = ("FailedComputeMetricsReplicas", text)
    return _verdict(snapshot, snapshot.current, "", found, chosen, snapshot.history, warning)


def _verdict(
    snapshot: Snapshot,
    wanted: int,
    reason: str,
    found: list[Object],
    chosen: proposals.Chosen,
    history: behaviour.History,
    warning: tuple[str, str] | None = None,
) -> Verdict:
    old = snapshot.hpa.get("status") or {}
    if wanted != snapshot.current:
        text = f"the HPA controller was able to update the target scale to {wanted}"
        found = _put(found, "AbleToScale", True, behaviour.Reason("SucceededRescale", text), snapshot.now)
    status: Object = {
        "observedGeneration": snapshot.hpa["metadata"].get("generation", 0),
        "currentReplicas": snapshot.observed,
        "desiredReplicas": wanted,
        "currentMetrics": [proposal.current for proposal in chosen.all if proposal.current is not None],
        "conditions": found,
    }
    if old.get("lastScaleTime"):
        status["lastScaleTime"] = old["lastScaleTime"]
    return Verdict(wanted, reason, status, history, chosen, warning)


def metrics_of(spec: Object) -> list[Object]:
    """`spec.metrics`; CPU at 80 % when there are none, as Kubernetes defaults."""
    default = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    return spec.get("metrics") or [default]


def unable(hpa: Object, why: behaviour.Reason, *, type_: str, observed: int | None, now: float) -> Object:
    """The status of an HPA that cannot even look: AbleToScale or ScalingActive is false."""
    old: Object = hpa.get("status") or {}
    status = {**old, "observedGeneration": hpa["metadata"].get("generation", 0)}
    status.setdefault("desiredReplicas", 0)
    if observed is not None:
        status["currentReplicas"] = observed
    status["conditions"] = _put(_conditions(hpa), type_, False, why, now)
    return status


def _conditions(hpa: Object) -> list[Object]:
    return list((hpa.get("status") or {}).get("conditions") or ())


def _put(found: list[Object], type_: str, status: bool, why: behaviour.Reason, now: float) -> list[Object]:
    return conditions.put(found, type_=type_, status=str(status), reason=why.reason, message=why.message, now=now)
