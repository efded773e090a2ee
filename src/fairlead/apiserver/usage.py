"""The resource metrics API (`metrics.k8s.io/v1beta1`): what `kubectl top` and other autoscalers ask. Read only.

Measured by the node agent, over half a minute at most. Pods that are not measured yet are left out, as
metrics-server does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fairlead.api import selectors
from fairlead.api.kinds import Kind
from fairlead.apiserver import codec, read, requests, status
from fairlead.base import clock as clocks
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
WINDOW_SECONDS = 30.0
_GROUP, _VERSION = "metrics.k8s.io", "v1beta1"
PODS = Kind(_GROUP, _VERSION, "PodMetrics", "pods", True)
NODES = Kind(_GROUP, _VERSION, "NodeMetrics", "nodes", False)
KINDS = (PODS, NODES)
VERBS = ["get", "list"]


class Measured(Protocol):
    """What one container uses. `at` is seconds since 1970."""

    @property
    def cpu_cores(self) -> float: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def window_seconds(self) -> float: ...

    @property
    def at(self) -> float: ...


class Source(Protocol):
    """Measurements of pods, wired by the cluster."""

    def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Mapping[str, Measured]:
        """Container -> what it uses; {} while nothing is known."""


def find(info: requests.Info) -> Kind | None:
    """The metrics kind that a request asks for."""
    wanted = (info.group, info.version, info.resource)
    return next((kind for kind in KINDS if wanted == (kind.group, kind.version, kind.plural)), None)


def answer(kind: Kind, info: requests.Info, store: protocol.Store, source: Source | None) -> exchange.Response:
    """One PodMetrics or NodeMetrics, or the list. Raises ApiError."""
    if source is None:
        raise status.no_such_path()
    if info.verb not in ("get", "list"):
        raise status.method_not_allowed()
    items = _pods(info, store, source) if kind is PODS else _nodes(info, store, source)
    if info.verb == "get":
        if not items:
            raise status.not_found(kind, info.name)
        body = items[0]
    else:
        body = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": {}, "items": items}
    return exchange.Response(200, read.JSON, codec.encode(body))


def _selected(info: requests.Info, obj: Object, selector: selectors.Selector | None) -> bool:
    metadata = obj["metadata"]
    if info.name and metadata["name"] != info.name:
        return False
    return selector is None or selector.matches(metadata.get("labels"))


def _pods(info: requests.Info, store: protocol.Store, source: Source) -> list[Object]:
    selector, found = read.label_test(info), []
    for entry in store.page(f"pods/{info.namespace}/" if info.namespace else "pods/").entries:
        pod = codec.decode(entry.value)
        if _selected(info, pod, selector):
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            measured = source.usage(namespace, name, window_seconds=WINDOW_SECONDS)
            if measured:
                found.append(_pod(pod, measured))
    return found


def _pod(pod: Object, measured: Mapping[str, Measured]) -> Object:
    metadata = {key: pod["metadata"][key] for key in ("name", "namespace", "labels") if key in pod["metadata"]}
    containers = [
        {"name": name, "usage": _usage(one.cpu_cores, one.memory_bytes)} for name, one in sorted(measured.items())
    ]
    return {**_head(PODS, metadata, list(measured.values())), "containers": containers}


def _nodes(info: requests.Info, store: protocol.Store, source: Source) -> list[Object]:
    selector, found = read.label_test(info), []
    pods = [codec.decode(entry.value) for entry in store.page("pods/").entries]
    for entry in store.page("nodes/").entries:
        node = codec.decode(entry.value)
        if not _selected(info, node, selector):
            continue
        name = node["metadata"]["name"]
        measured = [
            one
            for pod in pods
            if (pod.get("spec") or {}).get("nodeName") == name
            for one in source.usage(
                pod["metadata"]["namespace"], pod["metadata"]["name"], window_seconds=WINDOW_SECONDS
            ).values()
        ]
        total = _usage(sum(one.cpu_cores for one in measured), sum(one.memory_bytes for one in measured))
        metadata = {key: node["metadata"][key] for key in ("name", "labels") if key in node["metadata"]}
        found.append({**_head(NODES, metadata, measured), "usage": total})
    return found


def _head(kind: Kind, metadata: Object, measured: list[Measured]) -> Object:
    newest = max((one.at for one in measured), default=0.0)
    window = max((one.window_seconds for one in measured), default=WINDOW_SECONDS)
    return {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": {**metadata, "creationTimestamp": clocks.rfc3339(newest)},
        "timestamp": clocks.rfc3339(newest),
        "window": f"{window:.3f}s",
    }


def _usage(cores: float, memory_bytes: int) -> Object:
    return {"cpu": f"{int(cores * 1e9)}n", "memory": f"{memory_bytes // 1024}Ki"}
