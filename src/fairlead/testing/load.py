"""A metrics source for tests: a load in CPU cores, spread evenly over the pods that are ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.base import clock as clocks

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """What `controllers.autoscaling.metrics.ContainerUsage` asks for."""

    cpu_cores: float
    memory_bytes: int
    window_seconds: float
    at: float


class FakeLoad:
    """`cores` are shared by the pods that `serving` names; the others use nothing."""

    def __init__(self, clock: clocks.Clock, *, serving: Callable[[], list[str]], container: str = "main") -> None:
        self.cores = 0.0
        self.memory_bytes = 50_000_000
        self.silent = False
        self._clock = clock
        self._serving = serving
        self._container = container

    def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Mapping[str, Usage]:
        if self.silent:
            return {}
        serving = self._serving()
        cores = self.cores / len(serving) if pod in serving else 0.0
        return {self._container: Usage(cores, self.memory_bytes, window_seconds, self._clock.now())}
