"""Turns measurements into observations, one per entry of `spec.metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.controllers.autoscaling import decide, metrics
from fairlead.controllers.writes import Object


class Observer:
    """Asks the source about the pods that an HPA's metrics need."""

    def __init__(self, source: metrics.MetricsSource, *, window_seconds: float) -> None:
        self._source = source
        self._window = window_seconds

    def observe(self, hpa: Object, all_pods: Sequence[Object]) -> list[metrics.Observation]:
        """What is known now, in the order of the spec."""
        usages: dict[str, Mapping[str, metrics.ContainerUsage]] = {}
        return [self._one(spec, all_pods, usages) for spec in decide.metrics_of(hpa["spec"])]

    def _one(
        self, spec: Object, all_pods: Sequence[Object], usages: dict[str, Mapping[str, metrics.ContainerUsage]]
    ) -> metrics.Observation:
        given = spec.get("resource") or spec.get("containerResource")
        if not given:
            return metrics.Observation(problem=f"metrics of type {spec['type']} are not served here")
        found = {}
        for pod in all_pods:
            name = pod["metadata"]["name"]
            if name not in usages:
                namespace = pod["metadata"]["namespace"]
                usages[name] = self._source.usage(namespace, name, window_seconds=self._window)
            wanted = {given["container"]} if given.get("container") else _containers(pod)
            sample = metrics.sample_of(usages[name], given["name"], wanted)
            if sample is not None:
                found[name] = sample
        return metrics.Observation(pods=found)


def _containers(pod: Object) -> set[str]:
    return {container["name"] for container in pod["spec"]["containers"]}
