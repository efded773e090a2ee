"""`hpa replay`: the very decision function of the autoscaler under virtual time, over a load that was written down.
Pure.

The world around it is a model, and a simple one: requests cost `cost_seconds` of CPU each, a pod works on at most
`cores` at a time, what is too much waits in line and is worked off; a new pod takes `start_seconds` until it is ready.
Who gets which request is the engine's own balancing under virtual time where a `Balancer` is given
(`fairlead-engine simulate`): requests arrive at random and wait behind those that were sent to the same pod. Without
one they are spread evenly, and latency is that of a processor-sharing server, cost / (1 - load), which grows with the
line when the load is over 1. It shows how a spec reacts, not what an application will do to the millisecond.
"""

from __future__ import annotations

import collections
import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fairlead.base import clock as clocks
from fairlead.controllers.autoscaling import behaviour, decide, metrics, panic
from fairlead.controllers.writes import Object

START = 1_700_000_000.0
FULLEST = 0.99  # of a pod: the latency formula has a pole at 1


class Balancer(Protocol):
    """Requests and pods under virtual time."""

    def step(self, *, seconds: float, rate: float, endpoints: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """So much time with that rate and those pods; what came of it (engine/src/simulate, `Outcome`)."""
        ...


class TraceError(ValueError):
    """The trace cannot be read; the message says which line."""


@dataclass(frozen=True, slots=True)
class Model:
    """The application: CPU a request costs, what a pod asks for and may use at most, how long it takes to start."""

    cost_seconds: float = 0.01
    cpu_request_milli: int = 100
    cores: float = 1.0
    start_seconds: float = 1.0
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One second. `waiting` are requests in line, `utilization` percent of the CPU requests of the ready pods."""

    at: float
    requests_per_second: float
    replicas: int
    ready: int
    utilization: float
    in_flight: float
    waiting: float
    latency_seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Work:
    """What one second did: cores used and requests in flight by pod, and the waiting, in flight and latency of all."""

    cores: Mapping[str, float]
    in_flight: Mapping[str, float]
    all_in_flight: float
    waiting: float
    latency_seconds: float


@dataclass(slots=True)
class _Pod:
    name: str
    ready_at: float
    cores: collections.deque[tuple[float, float]] = field(default_factory=collections.deque)
    in_flight: collections.deque[tuple[float, float]] = field(default_factory=collections.deque)


def read_trace(text: str) -> list[tuple[float, float]]:
    """`seconds,requests_per_second` lines; a header is skipped; times rise. Raises TraceError."""
    found: list[tuple[float, float]] = []
    for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
        if not row or (number == 1 and not _is_number(row[0])):
            continue
        if len(row) < 2 or not _is_number(row[0]) or not _is_number(row[1]):
            raise TraceError(f"line {number}: two numbers are expected, seconds and requests per second")
        at, rate = float(row[0]), float(row[1])
        if rate < 0 or at < 0 or (found and at <= found[-1][0]):
            raise TraceError(f"line {number}: times must rise and nothing may be negative")
        found.append((at, rate))
    if not found:
        raise TraceError("the trace is empty")
    return found


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


class Replay:
    """One HPA over one trace; `run` gives a Row for every second."""

    def __init__(
        self, hpa: Object, model: Model, *, window_seconds: float = 5.0, balancer: Balancer | None = None
    ) -> None:
        self._hpa = _complete(hpa)
        self._model = model
        self._window = window_seconds
        self._balancer = balancer
        self._history, self._panic = behaviour.History(), panic.State()
        self._made = 0
        self._pods = [self._make(START - 600) for _ in range(model.replicas)]
        self._backlog = 0.0  # seconds of CPU in line

    def run(self, trace: Sequence[tuple[float, float]]) -> list[Row]:
        """Every second from the trace's first time to its last."""
        rows = []
        first, last = trace[0][0], trace[-1][0]
        for second in range(int(last - first) + 1):
            rows.append(self._second(first + second, _rate(trace, first + second)))
        return rows

    def _make(self, ready_at: float) -> _Pod:
        self._made += 1
        return _Pod(f"pod-{self._made}", ready_at)

    def _second(self, at: float, rate: float) -> Row:
        now = START + at
        ready = [pod for pod in self._pods if pod.ready_at <= now]
        work = self._simulated(ready, rate) if self._balancer else self._by_formula(ready, rate)
        for pod in ready:
            pod.cores.append((now, work.cores[pod.name]))
            pod.in_flight.append((now, work.in_flight[pod.name]))
            while pod.cores[0][0] <= now - 60:
                pod.cores.popleft()
                pod.in_flight.popleft()
        verdict = self._decide(now, rate, work.all_in_flight)
        before = len(self._pods)
        self._scale(verdict.replicas, now)
        load = sum(work.cores.values()) / max(len(ready), 1)
        return Row(
            at=at,
            requests_per_second=rate,
            replicas=before,
            ready=len(ready),
            utilization=load * 1000 * 100 / self._model.cpu_request_milli,
            in_flight=work.all_in_flight,
            waiting=work.waiting,
            latency_seconds=work.latency_seconds,
            reason=verdict.reason or _held(verdict),
        )

    def _by_formula(self, ready: list[_Pod], rate: float) -> _Work:
        model = self._model
        capacity = len(ready) * model.cores
        due = self._backlog + rate * model.cost_seconds
        done = min(due, capacity)
        self._backlog = due - done
        waiting = self._backlog / model.cost_seconds
        if not ready:
            return _Work({}, {}, due / model.cost_seconds, waiting, self._backlog)
        share = min(rate * model.cost_seconds / capacity, FULLEST)
        latency = model.cost_seconds / (1 - share) + self._backlog / capacity
        cores = dict.fromkeys((pod.name for pod in ready), done / len(ready))
        in_flight = dict.fromkeys(cores, rate * latency / len(ready))
        return _Work(cores, in_flight, rate * latency, waiting, latency)

    def _simulated(self, ready: list[_Pod], rate: float) -> _Work:
        assert self._balancer is not None
        workers = max(1, int(self._model.cores))
        slowness = workers / self._model.cores
        endpoints = [{"name": pod.name, "workers": workers, "slowness": slowness} for pod in ready]
        found = self._balancer.step(seconds=1.0, rate=rate, endpoints=endpoints)
        shares = {share["name"]: share for share in found["endpoints"]}
        in_flight = {name: float(share["mean_in_flight"]) for name, share in shares.items()}
        return _Work(
            cores={name: share["worked_seconds"] / slowness for name, share in shares.items()},
            in_flight=in_flight,
            all_in_flight=sum(in_flight.values()) + found["waiting"],
            waiting=found["waiting"] + sum(share["queued"] for share in shares.values()),
            latency_seconds=found["mean_seconds"],
        )

    def _decide(self, now: float, rate: float, in_flight: float) -> decide.Verdict:
        short = None
        if isinstance(panic.read(self._hpa), float):
            short = self._observe(now, rate, in_flight, panic.window_seconds(self._window))
        verdict = decide.decide(
            decide.Snapshot(
                hpa=self._hpa,
                current=len(self._pods),
                observed=len(self._pods),
                pods=[self._as_object(pod, now) for pod in self._pods],
                observations=self._observe(now, rate, in_flight, self._window),
                history=self._history,
                now=now,
                short=short,
                panic=self._panic,
            )
        )
        self._history, self._panic = verdict.history, verdict.panic
        self._hpa["status"] = verdict.status
        return verdict

    def _scale(self, wanted: int, now: float) -> None:
        while len(self._pods) < wanted:
            self._pods.append(self._make(now + self._model.start_seconds))
        if len(self._pods) > wanted:  # the youngest go first, as in a ReplicaSet
            self._pods = sorted(self._pods, key=lambda pod: pod.ready_at)[:wanted]

    def _as_object(self, pod: _Pod, now: float) -> Object:
        is_ready = pod.ready_at <= now
        stamp = clocks.rfc3339(pod.ready_at)
        requests = {"cpu": f"{self._model.cpu_request_milli}m"}
        return {
            "metadata": {"name": pod.name, "namespace": "default"},
            "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]},
            "status": {
                "phase": "Running" if is_ready else "Pending",
                "startTime": clocks.rfc3339(pod.ready_at - self._model.start_seconds),
                "conditions": [{"type": "Ready", "status": str(is_ready), "lastTransitionTime": stamp}],
            },
        }

    def _observe(self, now: float, rate: float, in_flight: float, window: float) -> list[metrics.Observation]:
        found = []
        for spec in decide.metrics_of(self._hpa["spec"]):
            name = _metric_name(spec)
            if spec["type"] in ("Resource", "Pods"):
                found.append(self._per_pod(name, now, window))
            elif name == "requests_per_second":
                found.append(metrics.Observation(milli=int(rate * 1000)))
            elif name == "requests_in_flight":
                found.append(metrics.Observation(milli=int(in_flight * 1000)))
            else:
                found.append(metrics.Observation(problem=f"{name!r} is not simulated"))
        return found

    def _per_pod(self, name: str, now: float, window: float) -> metrics.Observation:
        series = {"cpu": "cores", "requests_per_second": "cores", "requests_in_flight": "in_flight"}.get(name)
        if series is None:
            return metrics.Observation(problem=f"{name!r} is not simulated")
        scale = 1000.0 / self._model.cost_seconds if name == "requests_per_second" else 1000.0
        found = {}
        for pod in self._pods:
            recent = [value for at, value in getattr(pod, series) if at > now - window]
            if recent:
                found[pod.name] = metrics.Sample(int(sum(recent) / len(recent) * scale), now, window)
        return metrics.Observation(pods=found)


def _metric_name(spec: Mapping[str, Any]) -> str:
    given = spec.get({"Resource": "resource", "Pods": "pods", "Object": "object", "External": "external"}.get(
        spec["type"], "")) or {}  # fmt: skip
    return str(given.get("name") or (given.get("metric") or {}).get("name", spec["type"]))


def _complete(hpa: Object) -> Object:
    metadata = {"namespace": "default", "name": "hpa", **(hpa.get("metadata") or {})}
    return {**hpa, "metadata": metadata, "status": {}}


def _rate(trace: Sequence[tuple[float, float]], at: float) -> float:
    """The rate given last: traces are steps."""
    return [rate for since, rate in trace if since <= at][-1]


def _held(verdict: decide.Verdict) -> str:
    """What held the number where it is, when something did."""
    for entry in verdict.status["conditions"]:
        if entry["type"] == "ScalingActive" and entry["status"] == "False":
            return str(entry["message"])
        if entry["type"] == "AbleToScale" and entry["reason"].endswith("Stabilized"):
            return str(entry["reason"])
        if entry["type"] == "ScalingLimited" and entry["status"] == "True":
            return str(entry["reason"])
    return ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A replay in a few numbers, to compare specs by."""

    most_replicas: int
    replica_seconds: int
    changes: int
    seconds_over_target: int
    worst_latency_seconds: float
    most_waiting: float


def summarize(rows: Sequence[Row], *, target_percent: float = 100.0) -> Summary:
    return Summary(
        most_replicas=max(row.replicas for row in rows),
        replica_seconds=sum(row.replicas for row in rows),
        changes=sum(before.replicas != after.replicas for before, after in itertools.pairwise(rows)),
        seconds_over_target=sum(row.utilization > target_percent for row in rows),
        worst_latency_seconds=max(row.latency_seconds for row in rows),
        most_waiting=max(row.waiting for row in rows),
    )
