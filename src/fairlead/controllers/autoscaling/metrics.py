"""What the autoscaler needs to know of the world, and from whom. The node agent's measurements fit `MetricsSource`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class ContainerUsage(Protocol):
    """What one container uses. `at` is seconds since 1970, `window_seconds` over how long the CPU rate was measured."""

    @property
    def cpu_cores(self) -> float: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def window_seconds(self) -> float: ...
    @property
    def at(self) -> float: ...


class MetricsSource(Protocol):
    """Measurements of pods."""

    def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Mapping[str, ContainerUsage]:
        """What each container of the pod uses, as a mean over at most that window; {} while nothing is known."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One pod's value of one metric, in thousandths (of a core, a byte, a request).

    `ready_at` is when the pod was seen to become ready, where that is known better than its condition tells (in whole
    seconds). `part_milli` is given where that was within the window: what the pod has done since, spread over the whole
    window, so that the sum over all pods is the load and a pod's start is no part of it.
    """

    milli: int
    at: float
    window_seconds: float
    ready_at: float | None = None
    part_milli: int | None = None

    @property
    def young_seconds(self) -> float | None:
        """How much of the window the pod has been ready, where that is not all of it."""
        if self.ready_at is None or self.ready_at <= self.at - self.window_seconds:
            return None
        return max(0.0, self.at - self.ready_at)


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen for one entry of `spec.metrics`: per pod, or one value for all, or why there is nothing."""

    pods: Mapping[str, Sample] = field(default_factory=dict)
    milli: int | None = None
    problem: str = ""
    not_yet: bool = False  # the problem is that nothing was measured so far


@dataclass(frozen=True, slots=True)
class Subject:
    """What a traffic metric is about: a Pod, Service, Ingress or another kind that carries traffic."""

    kind: str
    namespace: str
    name: str


class TrafficSource(Protocol):
    """Measurements of traffic: `requests_per_second`, `requests_in_flight`, `connections`,
    `request_latency_p95_seconds`; of a Service also `requests_waiting` for an endpoint, at the last look."""

    def reading(self, metric: str, subject: Subject, *, window_seconds: float) -> Sample | None:
        """The metric of that subject over at most that window, None while nothing is known."""


class NoMetrics:
    """A source that knows nothing."""

    def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Mapping[str, ContainerUsage]:
        return {}

    def reading(self, metric: str, subject: Subject, *, window_seconds: float) -> Sample | None:
        return None


def sample_of(
    usages: Mapping[str, ContainerUsage], resource: str, containers: set[str], *, window_seconds: float
) -> Sample | None:
    """The sum over those containers, or None when one of them is not known yet.

    The sample's window is the one asked for even where the pod is younger: until it has been ready that long, its mean
    is not of the same time as the others'.
    """
    if not containers or not containers <= usages.keys():
        return None
    chosen = [usages[name] for name in containers]
    if resource == "cpu":
        milli = int(sum(usage.cpu_cores for usage in chosen) * 1000)  # down: noise must not ask for one pod more
    elif resource == "memory":
        milli = sum(usage.memory_bytes * 1000 for usage in chosen)
    else:
        return None
    return Sample(milli, min(usage.at for usage in chosen), window_seconds)
