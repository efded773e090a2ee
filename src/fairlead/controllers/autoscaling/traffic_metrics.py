"""Traffic per pod, Service and Ingress from the engine's statistics: short rings in memory, one sample a second.
Pure.

`add` takes the documents of `GET /stats?watch=1` (docs/protocol.md): the first is whole, each next one holds what
changed, null for what is gone. `reading` answers over a window: rates and latencies from differences of counters (a
counter that falls began anew), gauges as the mean of the samples. At layer 4 a connection counts as a request. What is
not in the statistics is not known (None); what is there and carries nothing is 0.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.controllers.autoscaling.metrics import Sample, Subject

KEPT_SECONDS = 65.0
PERCENTILE = 0.95
Buckets = tuple[tuple[int, int], ...]  # (upper bound in microseconds, count)


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
        self._document: dict[str, Any] = {}
        self._rings: dict[Subject, collections.deque[_Point]] = {}

    def add(self, changed: Mapping[str, Any], at: float) -> None:
        """One document of the statistics' stream, at that time (seconds since 1970)."""
        self._document = _merged(self._document, changed)
        found = dict(_points(self._document, at))
        for subject, point in found.items():
            ring = self._rings.setdefault(subject, collections.deque())
            ring.append(point)
            while ring[0].at < at - KEPT_SECONDS:
                ring.popleft()
        for subject in self._rings.keys() - found.keys():
            del self._rings[subject]

    def reset(self) -> None:
        """A new engine counts from zero: the next document is whole."""
        self._document = {}

    def subjects(self) -> list[Subject]:
        """Everything that there is traffic of."""
        return list(self._rings)

    def reading(self, metric: str, subject: Subject, *, window_seconds: float) -> Sample | None:
        ring = self._rings.get(subject)
        if ring is None:
            return None
        last = ring[-1]
        points = [point for point in ring if point.at >= last.at - window_seconds]
        if metric == "requests_in_flight":
            return _mean([point.in_flight for point in points], points)
        if metric == "requests_waiting":
            return Sample(last.waiting * 1000, last.at, 0.0)
        if metric == "connections":
            return _mean([point.connections for point in points], points)
        if len(points) < 2:
            points = list(ring)[-2:]
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
    if not isinstance(new, Mapping):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in new.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _points(document: Mapping[str, Any], at: float) -> Iterator[tuple[Subject, _Point]]:
    """Every subject's counters: pods and Services from the backends, Ingresses and other routes from the routes."""
    totals: dict[Subject, list[Mapping[str, Any]]] = {}
    for backend_id, backend in (document.get("backends") or {}).items():
        namespace, _, rest = backend_id.partition("/")
        service = Subject("Service", namespace, rest.rpartition(":")[0])
        totals.setdefault(service, []).append({"waiting": backend.get("waiting")})
        for endpoint in (backend.get("endpoints") or {}).values():
            totals[service].append(endpoint)
            where, _, name = (endpoint.get("name") or "").partition("/")
            if name:
                totals.setdefault(Subject("Pod", where, name), []).append(endpoint)
    for route in (document.get("routes") or {}).values():
        kind, _, rest = (route.get("object") or "").partition("/")
        namespace, _, name = rest.partition("/")
        if name:
            totals.setdefault(Subject(kind, namespace, name), []).append(route)
    for subject, parts in totals.items():
        yield subject, _point(parts, at)


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
