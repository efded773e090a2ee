"""Runs the HPAs: looks every second, scales through the `scale` subresource, keeps the history.

A target is anything with a `scale` subresource, of a custom kind too (see `targets`); anything else is refused in the
condition AbleToScale. Two HPAs of one target are refused both (AmbiguousSelector). An HPA with the annotation
`fairlead.dev/dry-run: "true"` decides, says so in its status and in Events, and scales nothing. The status is written
when something that a person would notice changed, and otherwise at most every five seconds. That nothing is measured
yet is in the conditions at once, and an Event only where it lasts: otherwise every start would warn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.api import kinds, problem
from fairlead.api.kinds import Kind
from fairlead.base import clock as clocks
from fairlead.client import cache, informer
from fairlead.controllers import conditions, context, writes
from fairlead.controllers.autoscaling import (
    behaviour,
    decide,
    explaining,
    metrics,
    observing,
    panic,
    readiness,
    targets,
)
from fairlead.controllers.writes import Object

NAME = "horizontal-pod-autoscaler"
STATUS_SECONDS = 5.0
NOT_YET_SECONDS = 15.0
DRY_RUN = "fairlead.dev/dry-run"


@dataclass(slots=True)
class _Memory:
    uid: str
    history: behaviour.History
    status_at: float = 0.0
    panic: panic.State = field(default_factory=panic.State)
    explanation: Object | None = None
    failing_since: float | None = None
    warned: bool = False  # of what fails since then
    told: str = ""  # the last Event that must not be repeated every second
    unscaled: tuple[int, behaviour.History] | None = None  # the replicas and history before a scale that may yet fail

    def move(self, seconds: float) -> None:
        """The wall clock was set: an hour back must not stretch a window of five minutes to sixty-five."""
        self.history = self.history.moved(seconds)
        self.panic = panic.State(self.panic.until + seconds, self.panic.most) if self.panic.until else self.panic
        self.status_at += seconds
        self.failing_since = self.failing_since + seconds if self.failing_since is not None else None
        if self.unscaled is not None:
            self.unscaled = self.unscaled[0], self.unscaled[1].moved(seconds)


class Autoscalers:
    """The controller; keys are HPAs."""

    def __init__(
        self,
        given: context.Context,
        *,
        usage: metrics.MetricsSource,
        traffic: metrics.TrafficSource,
        scalable: Sequence[Kind],
        period_seconds: float,
        window_seconds: float,
    ) -> None:
        self._clock = given.clock
        self._period = period_seconds
        self._hpas = given.informers.of(kinds.HPA)
        self._pods = given.informers.of(kinds.POD)
        self.targets = targets.Targets(given, scalable)
        self._window = window_seconds
        ready = readiness.ReadyTimes(given.clock)
        self._pods.add_handler(ready.follow)
        self._observer = observing.Observer(usage, traffic, ready_at=ready.of)
        self._memory: dict[str, _Memory] = {}
        self._jumps = clocks.Jumps(given.clock)
        self.runner = given.runner(NAME, self._decide, self._hpas, self._pods, *self.targets.informers())
        self.targets.follow_in(self.runner)
        self._hpas.add_handler(self._hpa_changed)

    def _hpa_changed(self, change: informer.Change) -> None:
        if change.new is None:
            self._memory.pop(change.key, None)
        elif change.old is None or change.old["metadata"].get("generation") != change.new["metadata"].get("generation"):
            self.runner.add(change.key)

    def explanation(self, key: str) -> Object | None:
        """Why the last decision about that HPA was what it was."""
        known = self._memory.get(key)
        return known.explanation if known else None

    def _decide(self, key: str) -> writes.Decision:
        hpa = self._hpas.cache.get(key)
        if hpa is None or "deletionTimestamp" in hpa["metadata"]:
            return writes.NOTHING
        if moved := self._jumps.seconds():
            for known in self._memory.values():
                known.move(moved)
        memory = self._memory.setdefault(key, _Memory(hpa["metadata"]["uid"], behaviour.History()))
        found = self._look(hpa)
        return writes.Decision(tuple(self._act(hpa, memory, found)), self._period)

    def _look(self, hpa: Object) -> _Target | _Unable:
        now = self._clock.now()
        target = self.targets.find(hpa["spec"]["scaleTargetRef"], hpa["metadata"]["namespace"])
        if isinstance(target, str):
            text = f"the HPA controller was unable to get the target's current scale: {target}"
            why = behaviour.Reason("FailedGetScale", text)
            return _Unable(decide.unable(hpa, why, type_="AbleToScale", observed=None, now=now), why)
        selector = target.selector
        if selector.nothing or selector.empty:
            why = behaviour.Reason("InvalidSelector", "the HPA target's scale is missing a selector")
            return _Unable(decide.unable(hpa, why, type_="ScalingActive", observed=None, now=now), why)
        if others := self._rivals(hpa):
            names = " ".join(sorted(others))
            why = behaviour.Reason(
                "AmbiguousSelector", f"pods by selector {selector} are controlled by multiple HPAs: [{names}]"
            )
            return _Unable(decide.unable(hpa, why, type_="ScalingActive", observed=None, now=now), why)
        found = [
            pod
            for pod in self._pods.cache.list(hpa["metadata"]["namespace"])
            if selector.matches(pod["metadata"].get("labels"))
        ]
        return _Target(target, found)

    def _rivals(self, hpa: Object) -> set[str]:
        """The HPAs of the same target, when there is more than this one."""
        reference = hpa["spec"]["scaleTargetRef"]
        same = {
            cache.key_of(other)
            for other in self._hpas.cache.list(hpa["metadata"]["namespace"])
            if (other["spec"]["scaleTargetRef"]["kind"], other["spec"]["scaleTargetRef"]["name"])
            == (reference["kind"], reference["name"])
        }
        return same if len(same) > 1 else set()

    def _act(self, hpa: Object, memory: _Memory, found: _Target | _Unable) -> list[writes.Write]:
        if isinstance(found, _Unable):
            memory.explanation = None
            changes: list[writes.Write] = []
            if _noticeable(hpa, found.status):
                changes.append(writes.Note(hpa, "Warning", found.why.reason, found.why.message))
                changes.append(_status(hpa, found.status))
            return changes
        current = found.target.replicas
        snapshot = self._snapshot(hpa, memory, found, current)
        verdict = decide.decide(snapshot)
        memory.explanation = explaining.explain(hpa, verdict, snapshot.observations, current=current, now=snapshot.now)
        memory.unscaled = (current, memory.history) if verdict.replicas != current else None
        memory.panic = verdict.panic
        dry = (hpa["metadata"].get("annotations") or {}).get(DRY_RUN) == "true"
        if not dry or verdict.replicas == current:
            memory.history = verdict.history
        notes = self._annotation_problems(hpa, memory)
        if dry:
            return [*notes, *self._dry(hpa, memory, verdict, current)]
        return [*notes, *self._written(hpa, memory, found, verdict, current)]

    def _snapshot(self, hpa: Object, memory: _Memory, found: _Target, current: int) -> decide.Snapshot:
        if memory.unscaled is not None and memory.unscaled[0] == current:
            memory.history = memory.unscaled[1]  # the scale was refused: it never happened
        short = None
        if isinstance(panic.read(hpa), float):
            window = panic.window_seconds(self._window)
            short = self._observer.observe(hpa, found.pods, window_seconds=window)
        return decide.Snapshot(
            hpa=hpa,
            current=current,
            observed=found.target.observed,
            pods=found.pods,
            observations=self._observer.observe(hpa, found.pods, window_seconds=self._window),
            history=memory.history,
            now=self._clock.now(),
            short=short,
            panic=memory.panic,
        )

    def _annotation_problems(self, hpa: Object, memory: _Memory) -> list[writes.Write]:
        found = panic.read(hpa)
        if not isinstance(found, problem.Problem) or memory.told == str(found):
            return []
        memory.told = str(found)
        return [writes.Note(hpa, "Warning", found.reason, f"{found.path}: {found.message}")]

    def _dry(self, hpa: Object, memory: _Memory, verdict: decide.Verdict, current: int) -> list[writes.Write]:
        """Says what would be done, once per change of mind."""
        text = f"would stay at {current}"
        if verdict.replicas != current:
            text = f"would scale from {current} to {verdict.replicas}; reason: {verdict.reason}"
        changes: list[writes.Write] = []
        if memory.told != text:
            memory.told = text
            changes.append(writes.Note(hpa, "Normal", "DryRun", text))
        status = {**verdict.status}
        found = [
            one for one in status["conditions"] if one["type"] != "AbleToScale" or one["reason"] != "SucceededRescale"
        ]
        status["conditions"] = conditions.put(
            found, type_="DryRun", status="True", reason="DryRun", message=text, now=self._clock.now()
        )
        return [*changes, *self._status_of(hpa, memory, status)]

    def _written(
        self, hpa: Object, memory: _Memory, target: _Target, verdict: decide.Verdict, current: int
    ) -> list[writes.Write]:
        changes: list[writes.Write] = []
        now, status = self._clock.now(), verdict.status
        if verdict.replicas != current:
            text = f"New size: {verdict.replicas}; reason: {verdict.reason}"
            failed = f"New size: {verdict.replicas}; reason: {verdict.reason}; error: {{error}}"
            told = writes.Told(hpa, ("SuccessfulRescale", text), ("FailedRescale", failed))
            of, patch = target.target, {"spec": {"replicas": verdict.replicas}}
            metadata = of.object["metadata"]
            changes.append(writes.Patch(of.kind, metadata["namespace"], metadata["name"], patch, "scale", told))
            status = {**status, "lastScaleTime": clocks.rfc3339(now)}
        changes += self._warning(hpa, memory, verdict, status)
        return [*changes, *self._status_of(hpa, memory, status)]

    def _warning(self, hpa: Object, memory: _Memory, verdict: decide.Verdict, status: Object) -> list[writes.Write]:
        if verdict.warning is None:
            memory.failing_since, memory.warned = None, False
            return []
        now = self._clock.now()
        since = memory.failing_since = now if memory.failing_since is None else memory.failing_since
        problem = verdict.chosen.problem
        early = problem is not None and problem.not_yet and now - since < NOT_YET_SECONDS
        if early or (memory.warned and not _noticeable(hpa, status)):
            return []
        memory.warned = True
        return [writes.Note(hpa, "Warning", *verdict.warning)]

    def _status_of(self, hpa: Object, memory: _Memory, status: Object) -> list[writes.Write]:
        now = self._clock.now()
        due = now - memory.status_at >= STATUS_SECONDS and not conditions.same_status(hpa.get("status"), status)
        if not due and not _noticeable(hpa, status):
            return []
        memory.status_at = now
        return [_status(hpa, status)]


@dataclass(frozen=True, slots=True)
class _Target:
    target: targets.Target
    pods: list[Object]


@dataclass(frozen=True, slots=True)
class _Unable:
    status: Object
    why: behaviour.Reason


def _status(hpa: Object, status: Object) -> writes.Update:
    return writes.Update(kinds.HPA, {**hpa, "status": status}, "status")


def _noticeable(hpa: Object, status: Object) -> bool:
    """More than the present value of a metric changed."""

    def told(found: Object) -> Object:
        reasons = [(entry["type"], entry["status"], entry["reason"]) for entry in found.get("conditions") or ()]
        numbers = {name: found.get(name, 0) for name in ("currentReplicas", "desiredReplicas", "observedGeneration")}
        return {"reasons": reasons, "measured": bool(found.get("currentMetrics")), **numbers}

    return told(hpa.get("status") or {}) != told(status)
