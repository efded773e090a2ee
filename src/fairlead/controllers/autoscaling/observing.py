"""Turns measurements into observations, one per entry of `spec.metrics`.

Resource metrics come from the pods' containers, Pods and Object metrics from their traffic. An External metric names
the object that it is about in its selector: `matchLabels: {service: NAME}` or `{ingress: NAME}`, in the HPA's
namespace. Metric selectors mean nothing else here and are refused.

Of a pod that became ready within the window only the time since then counts, as its part of the whole window. A gauge
(requests in flight, connections) needs no two counters to tell what is: its window is half as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fairlead.controllers.autoscaling import decide, metrics
from fairlead.controllers.writes import Object

TRAFFIC = ("requests_per_second", "requests_in_flight", "connections", "request_latency_p95_seconds")
GAUGES = frozenset({"requests_in_flight", "connections"})
GAUGE_SHARE = 0.5
_SUMS = GAUGES | {"requests_per_second"}  # of which a part of a pod's is a part of the whole
_EXTERNAL = {"service": "Service", "ingress": "Ingress"}


class Observer:
    """Asks the sources about what an HPA's metrics need."""

    def __init__(
        self,
        usage: metrics.MetricsSource,
        traffic: metrics.TrafficSource,
        *,
        ready_at: Callable[[Object], float | None] = lambda pod: None,
    ) -> None:
        """`ready_at` says when a pod became ready, where that is known."""
        self._usage = usage
        self._traffic = traffic
        self._ready_at = ready_at

    def observe(self, hpa: Object, all_pods: Sequence[Object], *, window_seconds: float) -> list[metrics.Observation]:
        """What is known now, in the order of the spec."""
        usages: dict[str, Mapping[str, metrics.ContainerUsage]] = {}
        found = []
        for spec in decide.metrics_of(hpa["spec"]):
            if spec["type"] in ("Resource", "ContainerResource"):
                found.append(self._resource(spec, all_pods, usages, window_seconds))
            else:
                found.append(self._traffic_of(spec, hpa["metadata"]["namespace"], all_pods, window_seconds))
        return found

    def _resource(
        self,
        spec: Object,
        all_pods: Sequence[Object],
        usages: dict[str, Mapping[str, metrics.ContainerUsage]],
        window_seconds: float,
    ) -> metrics.Observation:
        given = spec.get("resource") or spec.get("containerResource") or {}
        if given.get("name") not in ("cpu", "memory"):
            return metrics.Observation(problem=f"resource {given.get('name')!r} is not measured, only cpu and memory")
        found = {}
        for pod in all_pods:
            name = pod["metadata"]["name"]
            if name not in usages:
                namespace = pod["metadata"]["namespace"]
                usages[name] = self._usage.usage(namespace, name, window_seconds=window_seconds)
            wanted = {given["container"]} if given.get("container") else _containers(pod)
            sample = metrics.sample_of(usages[name], given["name"], wanted, window_seconds=window_seconds)
            if sample is not None:
                found[name] = self._aged_usage(pod, sample, given["name"], wanted)
        return metrics.Observation(pods=found)

    def _aged_usage(self, pod: Object, sample: metrics.Sample, resource: str, containers: set[str]) -> metrics.Sample:
        """With the part of a pod that is younger than the window, once there are two samples since it was ready."""
        aged = replace(sample, ready_at=self._ready_at(pod))
        young = aged.young_seconds
        if young is None or resource != "cpu":
            return aged
        metadata = pod["metadata"]
        usages = self._usage.usage(metadata["namespace"], metadata["name"], window_seconds=young)
        since = metrics.sample_of(usages, resource, containers, window_seconds=young)
        measured = max((used.window_seconds for used in usages.values()), default=0.0)
        if since is None or measured > young:
            return replace(aged, part_milli=0)
        return replace(aged, part_milli=int(since.milli * young / aged.window_seconds))

    def _traffic_of(
        self, spec: Object, namespace: str, all_pods: Sequence[Object], window_seconds: float
    ) -> metrics.Observation:
        kind = spec["type"]
        given = spec.get({"Pods": "pods", "Object": "object", "External": "external"}.get(kind, "")) or {}
        metric = given.get("metric") or {}
        name, selector = metric.get("name", ""), (metric.get("selector") or {})
        if name not in TRAFFIC:
            return metrics.Observation(problem=f"unknown metric {name!r}; there are {', '.join(TRAFFIC)}")
        if name in GAUGES:
            window_seconds *= GAUGE_SHARE
        if kind == "External":
            return self._external(name, namespace, selector, window_seconds)
        if selector:
            return metrics.Observation(problem="metric selectors are not supported")
        if kind == "Pods":
            return self._pods(name, all_pods, window_seconds)
        described = given["describedObject"]
        subject = metrics.Subject(described["kind"], namespace, described["name"])
        return self._single(name, subject, window_seconds)

    def _pods(self, name: str, all_pods: Sequence[Object], window_seconds: float) -> metrics.Observation:
        found = {}
        for pod in all_pods:
            subject = metrics.Subject("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
            sample = self._traffic.reading(name, subject, window_seconds=window_seconds)
            if sample is not None:
                aged = metrics.Sample(sample.milli, sample.at, window_seconds, self._ready_at(pod))
                found[subject.name] = self._aged_traffic(name, subject, aged)
        return metrics.Observation(pods=found)

    def _aged_traffic(self, name: str, subject: metrics.Subject, aged: metrics.Sample) -> metrics.Sample:
        young = aged.young_seconds
        if young is None or name not in _SUMS:
            return aged
        since = self._traffic.reading(name, subject, window_seconds=young)
        milli = since.milli if since is not None else 0
        return replace(aged, part_milli=int(milli * young / aged.window_seconds))

    def _external(self, name: str, namespace: str, selector: Object, window_seconds: float) -> metrics.Observation:
        labels = selector.get("matchLabels") or {}
        if selector.get("matchExpressions") or len(labels) != 1 or not labels.keys() <= _EXTERNAL.keys():
            words = "metric.selector.matchLabels must be {service: NAME} or {ingress: NAME}"
            return metrics.Observation(problem=words)
        ((word, target),) = labels.items()
        return self._single(name, metrics.Subject(_EXTERNAL[word], namespace, target), window_seconds)

    def _single(self, name: str, subject: metrics.Subject, window_seconds: float) -> metrics.Observation:
        sample = self._traffic.reading(name, subject, window_seconds=window_seconds)
        if sample is None:
            text = f"no {name} is known of {subject.kind} {subject.namespace}/{subject.name}"
            return metrics.Observation(problem=text, not_yet=True)
        return metrics.Observation(milli=sample.milli)


def _containers(pod: Object) -> set[str]:
    return {container["name"] for container in pod["spec"]["containers"]}
