"""The doors between rooms that do not know each other: each adapter turns what one has into what another wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead.controllers.autoscaling import metrics
from fairlead.dataplane import coordinator, engine
from fairlead.node import agent, protocols


class Gate:
    """The node agent's DrainGate, kept by the planes' coordinator."""

    def __init__(self, planes: coordinator.Coordinator) -> None:
        self._planes = planes

    async def drain(self, address: str, *, deadline_seconds: float) -> protocols.DrainOutcome:
        outcome = await self._planes.drain(address, deadline_seconds=deadline_seconds)
        return protocols.DrainOutcome(outcome.left, outcome.silent, outcome.seconds)

    def release(self, address: str) -> None:
        self._planes.release(address)


class EngineProber:
    """The node agent's Prober, run by the engine."""

    def __init__(self, plane: engine.EnginePlane) -> None:
        self._plane = plane

    def watch(self, spec: protocols.ProbeSpec, on_result: Callable[[bool, str], None]) -> None:
        self._plane.watch(spec, on_result)

    def forget(self, probe_id: str) -> None:
        self._plane.forget(probe_id)


class PodMetrics:
    """The autoscaler's MetricsSource: what the node agent measures, once it is there."""

    def __init__(self) -> None:
        self.agent: agent.NodeAgent | None = None

    def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Mapping[str, metrics.ContainerUsage]:
        if self.agent is None:
            return {}
        return self.agent.usage.usage(namespace, pod, window_seconds=window_seconds)
