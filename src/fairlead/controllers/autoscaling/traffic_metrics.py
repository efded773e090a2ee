"""Traffic per pod, Service and Ingress from the engine's statistics: short rings in memory, one sample a second.
Pure.

`add` takes the documents of `GET /stats?watch=1` (docs/protocol.md): the first is whole, each next one holds what
changed, null for what is gone. `reading` answers over a window: rates and latencies from differences of counters (a
counter that falls began anew), gauges as the mean of the samples. At layer 4 a connection counts as a request. What is
not in the statistics is not known (None); what is there and carries nothing is 0.

A document costs what it names: of thousands of Ingresses those at rest keep one point each, which holds until the next.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fairlead.controllers.autoscaling.metrics import Sample, Subject

KEPT_SECONDS = 65.0
PERCENTILE = 0.95
Buckets = tuple[tuple[int, int], ...]  # (upper bound in microseconds, count)
_Source = tuple[str, str]  # "backends" or "routes", and the id there
_Part = Mapping[str, Any]  # an object of the statistics that has counters


@dataclass(frozen=True, slots=True)
class _Point:
    """The counters of one subject at one moment."""

    at: float
    requests: int
    in_flight: int
    connections: int
    waiting: int
    latency: Buckets


class TrafficMetrics:
    """A `metrics.TrafficSource` over the engine's statistics."""

    def __init__(self) -> None:
        self._times: collections.deque[float] = collections.deque()
        self._known: dict[_Source, dict[str, Any]] = {}
        self._parts: dict[Subject, dict[_Source, list[_Part]]] = {}
        self._rings: dict[Subject, collections.deque[_Point]] = {}
        self._whole = True

    def add(self, changed: Mapping[str, Any], at: float) -> None:
        """One document of the statistics' stream, at that time (seconds since 1970)."""
        self._times.append(at)
        while self._times[0] < at - KEPT_SECONDS:
            self._times.popleft()
        touched: set[Subject] = set()
        if self._whole:
            for source in list(self._known):
                self._change(source, None, touched)
            self._whole = False
        for kind in _SUBJECTS:
            for name, value in (changed.get(kind) or {}).items():
                self._change((kind, name), value, touched)
        for subject in touched:
            self._note(subject, at)

    def move(self, seconds: float) -> None:
        """The wall clock was set: rates are of the time that has passed, whatever it says."""
        self._times = collections.deque(at + seconds for at in self._times)
        for subject, ring in self._rings.items():
            self._rings[subject] = collections.deque(replace(point, at=point.at + seconds) for point in ring)

    def reset(self) -> None:
        """A new engine counts from zero: the next document is whole."""
        self._whole = True

    def subjects(self) -> list[Subject]:
        """Everything that there is traffic of."""
        return list(self._rings)

    def _change(self, source: _Source, value: Mapping[str, Any] | None, touched: set[Subject]) -> None:
        subjects_of, known = _SUBJECTS[source[0]], self._known.pop(source, None)
        for subject in () if known is None else subjects_of(source[1], known):
            touched.add(subject)
            self._parts[subject].pop(source, None)
        if value is None:
            return
        self._known[source] = now = _merged(known, value)
        for subject, parts in subjects_of(source[1], now).items():
            touched.add(subject)
            self._parts.setdefault(subject, {})[source] = parts

    def _note(self, subject: Subject, at: float) -> None:
        parts = self._parts[subject]
        if not parts:
            del self._parts[subject]
            self._rings.pop(subject, None)
            return
        ring = self._rings.setdefault(subject, collections.deque())
        ring.append(_point([part for some in parts.values() for part in some], at))
        while len(ring) > 1 and ring[1].at <= self._times[0]:
            ring.popleft()

    def _samples(self, subject: Subject) -> list[_Point]:
        """A point for each document since the subject was first seen: what was not named is as it was."""
        ring = list(self._rings.get(subject, ()))
        if not ring:
            return []
        starts = [point.at for point in ring]
        return [replace(ring[bisect.bisect_right(starts, at) - 1], at=at) for at in self._times if at >= ring[0].at]

    def reading(self, metric: str, subject: Subject, *, window_seconds: float) -> Sample | None:
        samples = self._samples(subject)
        if not samples:
            return None
        last = samples[-1]
        points = [point for point in samples if point.at >= last.at - window_seconds]
        if metric == "requests_in_flight":
            return _mean([point.in_flight for point in points], points)
        if metric == "requests_waiting":
            return Sample(last.waiting * 1000, last.at, 0.0)
        if metric == "connections":
            return _mean([point.connections for point in points], points)
        if len(points) < 2:
            points = samples[-2:]
        if len(points) < 2:
            return None
        seconds = max(last.at - points[0].at, 1e-3)
        if metric == "requests_per_second":
            return Sample(int(_difference(points) * 1000 / seconds), last.at, seconds)
        if metric == "request_latency_p95_seconds":
            return Sample(round(_percentile_seconds(points) * 1000), last.at, seconds)
        return None


def _mean(values: list[int], points: list[_Point]) -> Sample:
    window = points[-1].at - points[0].at
    return Sample(sum(values) * 1000 // len(values), points[-1].at, window)


def _difference(points: list[_Point]) -> int:
    total = 0
    for before, after in itertools.pairwise(points):
        total += after.requests - before.requests if after.requests >= before.requests else after.requests
    return total


def _percentile_seconds(points: list[_Point]) -> float:
    """The upper bound of the bucket that holds the percentile; 0 without requests."""
    before, after = dict(points[0].latency), dict(points[-1].latency)
    counts = {bound: max(0, count - before.get(bound, 0)) for bound, count in after.items()}
    total, seen = sum(counts.values()), 0
    for bound in sorted(counts):
        seen += counts[bound]
        if total and seen >= PERCENTILE * total:
            return bound / 1e6
    return 0.0


def _merged(old: Any, new: Any) -> Any:
    """The old one with what is new; it may be changed in place."""
    if not isinstance(new, Mapping):
        return new
    result = old if isinstance(old, dict) else {}
    for name, value in new.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _of_backend(name: str, backend: Mapping[str, Any]) -> dict[Subject, list[_Part]]:
    """What a Backend's counters are counted for: its Service, and the pods that are its endpoints."""
    namespace, _, rest = name.partition("/")
    whole: list[_Part] = [{"waiting": backend.get("waiting")}]
    found = {Subject("Service", namespace, rest.rpartition(":")[0]): whole}
    for endpoint in (backend.get("endpoints") or {}).values():
        whole.append(endpoint)
        where, _, pod = (endpoint.get("name") or "").partition("/")
        if pod:
            found.setdefault(Subject("Pod", where, pod), []).append(endpoint)
    return found


def _of_route(_: str, route: Mapping[str, Any]) -> dict[Subject, list[_Part]]:
    """A Route is counted for the object that it is of."""
    kind, _, rest = (route.get("object") or "").partition("/")
    namespace, _, name = rest.partition("/")
    return {Subject(kind, namespace, name): [route]} if name else {}


_SUBJECTS: Mapping[str, Callable[[str, Mapping[str, Any]], dict[Subject, list[_Part]]]] = {
    "backends": _of_backend,
    "routes": _of_route,
}


def _point(parts: list[Mapping[str, Any]], at: float) -> _Point:
    latency: dict[int, int] = {}
    for part in parts:
        for bound, count in (part.get("latency") or {}).get("buckets") or ():
            latency[bound] = latency.get(bound, 0) + count
    return _Point(
        at,
        sum(int(part.get("requests") or 0) + int(part.get("carried") or 0) for part in parts),
        sum(int(part.get("in_flight") or 0) for part in parts),
        sum(int(part.get("connections") or 0) for part in parts),
        sum(int(part.get("waiting") or 0) for part in parts),
        tuple(sorted(latency.items())),
    )
