"""The metrics APIs: `metrics.k8s.io` (kubectl top), `custom.metrics.k8s.io` and `external.metrics.k8s.io`.

Each is a group that an API server mounts: an Exchange for GETs that have passed authorization, and the resources that
discovery shows. CPU is nanocores over `window_seconds`, memory the resident bytes; a node's usage is the sum of its
pods. Pods of which nothing is known yet are left out of lists and 404 by name, as metrics-server has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.api import selectors
from fairlead.base import clock as clocks
from fairlead.client import cache, errors, exchange
from fairlead.controllers.autoscaling import metrics, observing
from fairlead.controllers.writes import Object

_JSON = {"content-type": "application/json"}
_CUSTOM = {"pods": ("Pod", "v1"), "services": ("Service", "v1"), "ingresses": ("Ingress", "networking.k8s.io/v1")}
Answer = Callable[[list[str], Mapping[str, str]], Object]


class Group:
    """One group: its versions, resources and answers."""

    def __init__(self, group: str, versions: Sequence[str], resources: Iterable[Object], answer: Answer) -> None:
        self.group = group
        self.versions = versions
        self._resources = list(resources)
        self._answer = answer

    def resources(self, version: str) -> list[Object]:
        return self._resources

    async def __call__(self, request: exchange.Request) -> exchange.Response:
        """The answer to a GET of a path under /apis/GROUP/VERSION/."""
        _, _, version, *rest = [part for part in request.path.split("/") if part]
        try:
            body = self._answer(rest, dict(request.query))
        except errors.ApiError as error:
            return exchange.Response(error.code, _JSON, msgspec.json.encode(error.status))
        body = {"kind": body.pop("kind"), "apiVersion": f"{self.group}/{version}", **body}
        for item in body.get("items") or ():
            if "usage" in item or "containers" in item:
                item["apiVersion"] = body["apiVersion"]
        return exchange.Response(200, _JSON, msgspec.json.encode(body))


class MetricsApis:
    """All three groups over the informers' caches and the sources that the autoscaler has."""

    def __init__(
        self,
        *,
        pods: cache.Cache,
        nodes: cache.Cache,
        usage: metrics.MetricsSource,
        traffic: metrics.TrafficSource,
        clock: clocks.Clock,
        window_seconds: float,
    ) -> None:
        self._pods, self._nodes = pods, nodes
        self._usage, self._traffic = usage, traffic
        self._clock = clock
        self._window = window_seconds

    def groups(self) -> dict[str, Group]:
        """What to mount, by group."""
        made = [
            Group("metrics.k8s.io", ("v1beta1",), _RESOURCE_METRICS, self._resource),
            Group("custom.metrics.k8s.io", ("v1beta2", "v1beta1"), _custom_resources(), self._custom),
            Group("external.metrics.k8s.io", ("v1beta1",), _external_resources(), self._external),
        ]
        return {group.group: group for group in made}

    def _resource(self, path: list[str], query: Mapping[str, str]) -> Object:
        namespace, rest = _scope(path)
        selector = _selector(query)
        if rest[:1] == ["pods"] and len(rest) <= 2:
            found = [pod for pod in self._pods.list(namespace) if selector.matches(pod["metadata"].get("labels"))]
            items = [item for pod in _named(found, rest) if (item := self._pod(pod)) is not None]
            return _one_or_list("PodMetrics", items, rest)
        if rest[:1] == ["nodes"] and len(rest) <= 2 and not namespace:
            found = [node for node in self._nodes.list() if selector.matches(node["metadata"].get("labels"))]
            return _one_or_list("NodeMetrics", [self._node(node) for node in _named(found, rest)], rest)
        raise not_found("the server could not find the requested resource")

    def _pod(self, pod: Object) -> Object | None:
        metadata = pod["metadata"]
        usages = self._usage.usage(metadata["namespace"], metadata["name"], window_seconds=self._window)
        if not usages:
            return None
        containers = [{"name": name, "usage": _usage([used])} for name, used in sorted(usages.items())]
        return {"kind": "PodMetrics", **_head(pod), **_measured(list(usages.values())), "containers": containers}

    def _node(self, node: Object) -> Object:
        name = node["metadata"]["name"]
        used = [
            one
            for pod in self._pods.list()
            if pod["spec"].get("nodeName") == name
            for one in self._usage.usage(
                pod["metadata"]["namespace"], pod["metadata"]["name"], window_seconds=self._window
            ).values()
        ]
        measured = _measured(used) if used else _stamp(self._clock.now(), self._window)
        return {"kind": "NodeMetrics", **_head(node), **measured, "usage": _usage(used)}

    def _custom(self, path: list[str], query: Mapping[str, str]) -> Object:
        namespace, rest = _scope(path)
        if not namespace or len(rest) != 3 or rest[0].partition(".")[0] not in _CUSTOM:
            raise not_found("the server could not find the requested resource")
        kind, api_version = _CUSTOM[rest[0].partition(".")[0]]
        names = [rest[1]] if rest[1] != "*" else self._names(kind, namespace, _selector(query))
        items = []
        for name in names:
            subject = metrics.Subject(kind, namespace, name)
            sample = self._traffic.reading(rest[2], subject, window_seconds=self._window)
            if sample is not None:
                described = {"kind": kind, "namespace": namespace, "name": name, "apiVersion": api_version}
                items.append(
                    {"describedObject": described, "metric": {"name": rest[2], "selector": None}, **_value(sample)}
                )
        if not items:
            raise not_found(f"the server could not find the metric {rest[2]} for {rest[0]} {rest[1]}")
        return {"kind": "MetricValueList", "metadata": {}, "items": items}

    def _names(self, kind: str, namespace: str, selector: selectors.Selector) -> list[str]:
        if kind != "Pod":
            raise not_found(f"name one {kind}; * is for pods")
        found = [pod for pod in self._pods.list(namespace) if selector.matches(pod["metadata"].get("labels"))]
        return sorted(pod["metadata"]["name"] for pod in found)

    def _external(self, path: list[str], query: Mapping[str, str]) -> Object:
        namespace, rest = _scope(path)
        labels = {one.key: one.values[0] for one in _selector(query).requirements if one.operator == "In"}
        known = {"service": "Service", "ingress": "Ingress"}
        if not namespace or len(rest) != 1 or len(labels) != 1 or not labels.keys() <= known.keys():
            raise not_found("external metrics need a selector service=NAME or ingress=NAME")
        ((word, name),) = labels.items()
        subject = metrics.Subject(known[word], namespace, name)
        sample = self._traffic.reading(rest[0], subject, window_seconds=self._window)
        if sample is None:
            raise not_found(f"the server could not find the metric {rest[0]} for {word} {name}")
        item = {"metricName": rest[0], "metricLabels": labels, **_value(sample)}
        return {"kind": "ExternalMetricValueList", "metadata": {}, "items": [item]}


_RESOURCE_METRICS: list[Object] = [
    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
]


def _custom_resources() -> Iterable[Object]:
    for plural in ("pods", "services", "ingresses.networking.k8s.io"):
        for metric in observing.TRAFFIC:
            yield {"name": f"{plural}/{metric}", "singularName": "", "namespaced": True,
                   "kind": "MetricValueList", "verbs": ["get"]}  # fmt: skip


def _external_resources() -> Iterable[Object]:
    for metric in observing.TRAFFIC:
        yield {"name": metric, "singularName": "", "namespaced": True,
               "kind": "ExternalMetricValueList", "verbs": ["get"]}  # fmt: skip


def _scope(path: list[str]) -> tuple[str, list[str]]:
    return (path[1], path[2:]) if path[:1] == ["namespaces"] and len(path) > 2 else ("", path)


def _selector(query: Mapping[str, str]) -> selectors.Selector:
    try:
        return selectors.parse(query.get("labelSelector", ""))
    except selectors.SelectorError as error:
        raise errors.ApiError(_status(400, "BadRequest", str(error))) from None


def _named(found: list[Object], rest: list[str]) -> list[Object]:
    return [one for one in found if len(rest) < 2 or one["metadata"]["name"] == rest[1]]


def _one_or_list(kind: str, items: list[Object], rest: list[str]) -> Object:
    if len(rest) < 2:
        return {"kind": f"{kind}List", "metadata": {}, "items": items}
    if not items:
        raise not_found(f'{kind.lower()}.metrics.k8s.io "{rest[1]}" not found')
    return items[0]


def _head(obj: Object) -> Object:
    metadata = {name: obj["metadata"][name] for name in ("name", "namespace", "labels") if name in obj["metadata"]}
    return {"metadata": {**metadata, "creationTimestamp": obj["metadata"].get("creationTimestamp")}}


def _measured(used: Sequence[metrics.ContainerUsage]) -> Object:
    return _stamp(min(one.at for one in used), max(one.window_seconds for one in used))


def _stamp(at: float, window_seconds: float) -> Object:
    return {"timestamp": clocks.rfc3339(at), "window": f"{window_seconds:.3f}s"}


def _usage(used: Sequence[metrics.ContainerUsage]) -> Object:
    nanocores = int(sum(one.cpu_cores for one in used) * 1e9)
    return {"cpu": f"{nanocores}n", "memory": f"{sum(one.memory_bytes for one in used) // 1024}Ki"}


def _value(sample: metrics.Sample) -> Object:
    whole = sample.milli % 1000 == 0
    value = str(sample.milli // 1000) if whole else f"{sample.milli}m"
    return {"timestamp": clocks.rfc3339(sample.at), "windowSeconds": round(sample.window_seconds), "value": value}


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code}  # fmt: skip


def not_found(message: str) -> errors.ApiError:
    """404 with that message."""
    return errors.ApiError(_status(404, "NotFound", message))
