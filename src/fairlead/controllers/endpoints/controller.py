"""Runs EndpointSlices and Endpoints, and mirrors Endpoints that users write: which objects concern which Service.

EndpointSlices follow every change at once; the older Endpoints, which nothing of ours reads, gather changes for half a
second.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.api import kinds
from fairlead.client import cache, informer
from fairlead.controllers import context, writes
from fairlead.controllers.endpoints import desired, legacy, mirroring, slices
from fairlead.controllers.writes import Object
from fairlead.routing import settings

NAME = "endpointslice-controller"
LEGACY_NAME = "endpoint-controller"
MIRROR_NAME = "endpointslicemirroring-controller"
LEGACY_DELAY_SECONDS = 0.5
_BY_SERVICE, _BY_MIRRORED = "endpoints/service", "endpoints/mirrored"


class Endpoints:
    """The three controllers."""

    def __init__(self, given: context.Context) -> None:
        self._services = given.informers.of(kinds.SERVICE)
        self._pods = given.informers.of(kinds.POD)
        self._nodes = given.informers.of(kinds.NODE)
        self._slices = given.informers.of(kinds.ENDPOINT_SLICE)
        self._endpoints = given.informers.of(kinds.ENDPOINTS)
        self._slices.cache.add_index(_BY_SERVICE, _by_service)
        self.runner = given.runner(NAME, self._decide, self._services, self._pods, self._nodes, self._slices)
        self.legacy = given.runner(LEGACY_NAME, self._decide_legacy, self._services, self._pods, self._endpoints)
        self._slices.cache.add_index(_BY_MIRRORED, _by_mirrored)
        self.mirror = given.runner(MIRROR_NAME, self._decide_mirror, self._services, self._endpoints, self._slices)
        self._services.add_handler(self._service_changed)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)
        self._slices.add_handler(self._slice_changed)
        self._endpoints.add_handler(self._endpoints_changed)

    def _service_changed(self, change: informer.Change) -> None:
        self._add(change.key)
        self.mirror.add(change.key)

    def _add(self, key: str) -> None:
        self.runner.add(key)
        self.legacy.queue.add_after(key, LEGACY_DELAY_SECONDS)

    def _pod_changed(self, change: informer.Change) -> None:
        if desired.said_by(change.old) == desired.said_by(change.new):
            return
        states = [state for state in (change.old, change.new) if state is not None]
        for service in self._services.cache.list(change.object["metadata"]["namespace"]):
            selector = service["spec"].get("selector")
            if selector and any(_selects(selector, state) for state in states):
                self._add(cache.key_of(service))

    def _node_changed(self, change: informer.Change) -> None:
        """Slices carry the zones of nodes."""
        if change.old is not None and change.new is not None and _zone(change.old) == _zone(change.new):
            return
        for service in self._services.cache.list():
            self.runner.add(cache.key_of(service))

    def _slice_changed(self, change: informer.Change) -> None:
        """Somebody may have changed what is ours."""
        for name in _by_service(change.object):
            if change.new is None or not self.runner.wrote(name, kinds.ENDPOINT_SLICE, change.new):
                self.runner.add(name)
        for name in _by_mirrored(change.object):
            self.mirror.add(name)

    def _endpoints_changed(self, change: informer.Change) -> None:
        self.mirror.add(change.key)
        if self._services.cache.get(change.key) is not None:
            self.legacy.queue.add_after(change.key, LEGACY_DELAY_SECONDS)

    def _selected(self, service: Object) -> list[Object]:
        selector = service["spec"]["selector"]
        return [pod for pod in self._pods.cache.list(service["metadata"]["namespace"]) if _selects(selector, pod)]

    def _decide(self, key: str) -> writes.Decision:
        service = self._services.cache.get(key)
        present = self._slices.cache.indexed(_BY_SERVICE, key)
        if service is None:
            return writes.Decision(tuple(writes.delete(kinds.ENDPOINT_SLICE, one) for one in present))
        if not _ours(service):
            return writes.NOTHING
        return slices.decide(
            slices.Snapshot(service=service, pods=self._selected(service), slices=present, zone_of=self._zone_of)
        )

    def _decide_legacy(self, key: str) -> writes.Decision:
        service = self._services.cache.get(key)
        present = self._endpoints.cache.get(key)
        if service is None:
            gone = present is not None and _managed(present)
            return writes.Decision((writes.delete(kinds.ENDPOINTS, present),)) if present and gone else writes.NOTHING
        if not _ours(service):
            return writes.NOTHING
        return legacy.decide(service, self._selected(service), present)

    def _decide_mirror(self, key: str) -> writes.Decision:
        present = self._slices.cache.indexed(_BY_MIRRORED, key)
        return mirroring.decide(self._endpoints.cache.get(key), self._services.cache.get(key), present)

    def _zone_of(self, node: str) -> str:
        found = self._nodes.cache.get(node)
        return _zone(found) if found else ""


def _by_service(obj: Object) -> Iterable[str]:
    labels = obj["metadata"].get("labels") or {}
    if labels.get(slices.MANAGED_BY) == slices.MANAGER and labels.get(slices.SERVICE_NAME):
        yield f"{obj['metadata']['namespace']}/{labels[slices.SERVICE_NAME]}"


def _by_mirrored(obj: Object) -> Iterable[str]:
    labels = obj["metadata"].get("labels") or {}
    if labels.get(slices.MANAGED_BY) == mirroring.MANAGER and labels.get(slices.SERVICE_NAME):
        yield f"{obj['metadata']['namespace']}/{labels[slices.SERVICE_NAME]}"


def _managed(endpoints: Object) -> bool:
    labels = endpoints["metadata"].get("labels") or {}
    return labels.get("endpoints.kubernetes.io/managed-by") == "endpoint-controller"


def _selects(selector: Object, obj: Object) -> bool:
    return bool(selector.items() <= (obj["metadata"].get("labels") or {}).items())


def _ours(service: Object) -> bool:
    """Has a selector and is not only a name elsewhere."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def _zone(node: Object) -> str:
    return str((node["metadata"].get("labels") or {}).get(settings.ZONE, ""))
