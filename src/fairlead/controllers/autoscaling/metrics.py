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
    """One pod's value of one metric, in thousandths (of a core, a byte, a request)."""

    milli: int
    at: float
    window_seconds: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen for one entry of `spec.metrics`: per pod, or one value for all, or why there is nothing."""

    pods: Mapping[str, Sample] = field(default_factory=dict)
    milli: int | None = None
    problem: str = ""


class NoMetrics:
    """A source that knows nothing."""

    def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Mapping[str, ContainerUsage]:
        return {}


def sample_of(usages: Mapping[str, ContainerUsage], resource: str, containers: set[str]) -> Sample | None:
    """The sum over those containers, or None when one of them is not known yet."""
    if not containers or not containers <= usages.keys():
        return None
    chosen = [usages[name] for name in containers]
    if resource == "cpu":
        milli = sum(round(usage.cpu_cores * 1000) for usage in chosen)
    elif resource == "memory":
        milli = sum(usage.memory_bytes * 1000 for usage in chosen)
    else:
        return None
    return Sample(milli, min(usage.at for usage in chosen), max(usage.window_seconds for usage in chosen))
