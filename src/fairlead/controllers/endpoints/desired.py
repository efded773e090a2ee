"""Which endpoints a Service should have: one per pod and address family, grouped by the ports it is reached at.

Pure. Follows Kubernetes' `pkg/controller/endpointslice` and KEP-1672: a pod with an address is an endpoint until it
has finished; `ready` is false as soon as it is being deleted (unless `publishNotReadyAddresses`), `serving` is its
readiness, `terminating` says that it is being deleted. A named targetPort is looked up in each pod, so pods may
differ. Where pods share the host's network, the port that the process really has stands in the annotation
`fairlead.dev/ports`. `trafficDistribution` (KEP-4444, KEP-3015) puts hints on ready endpoints, as
`staging/src/k8s.io/endpointslice/trafficdist` does: their own zone, and with PreferSameNode their own node.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from fairlead.controllers import pods
from fairlead.controllers.writes import Object

PORTS_ANNOTATION = "fairlead.dev/ports"  # {"containerPort": port}, written by the node agent
_CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")
Ports = tuple[tuple[str, int, str, str], ...]  # (name, port, protocol, appProtocol)
Grouped = dict[Ports, list[Object]]


def families(service: Object) -> list[str]:
    """The address types of a Service's slices."""
    found = service["spec"].get("ipFamilies") or ["IPv4"]
    return [str(family) for family in found]


def endpoints(service: Object, selected: Iterable[Object], *, family: str, zone_of: Callable[[str], str]) -> Grouped:
    """The endpoints of one address type, by port set. Pods without an address or without the port are left out."""
    found: Grouped = {}
    six, has_ports = family == "IPv6", bool(service["spec"].get("ports"))
    for pod in sorted(selected, key=_name):
        addresses = _addresses(pod.get("status") or {}, six=six)
        if not addresses or pods.finished(pod):
            continue
        ports = ports_of(service, pod)
        if ports or not has_ports:
            found.setdefault(ports, []).append(_endpoint(service, pod, addresses, zone_of))
    return found


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def _addresses(status: Object, *, six: bool) -> list[str]:
    listed = [entry["ip"] for entry in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return [ip for ip in listed if ip and (":" in ip) == six]


def _endpoint(service: Object, pod: Object, addresses: list[str], zone_of: Callable[[str], str]) -> Object:
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    serving, terminating = pods.ready(pod), pods.terminating(pod)
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    found: Object = {
        "addresses": addresses,
        "conditions": {
            "ready": publish or (serving and not terminating),
            "serving": publish or serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
    }
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        found["hostname"] = spec["hostname"]
    if spec.get("nodeName"):
        found["nodeName"] = spec["nodeName"]
        if zone := zone_of(spec["nodeName"]):
            found["zone"] = zone
    wanted = service["spec"].get("trafficDistribution")
    if wanted in _CLOSE and found["conditions"]["ready"] and (hints := _hints(wanted, found)):
        found["hints"] = hints
    return found


def _hints(wanted: str, endpoint: Object) -> Object:
    hints: Object = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wanted == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints


def ports_of(service: Object, pod: Object) -> Ports:
    """The Service's ports as this pod has them; a port that it lacks is left out."""
    moved = _moved(pod)
    found = []
    for port in service["spec"].get("ports") or ():
        number = _target(port, pod)
        if number is not None:
            protocol = port.get("protocol") or "TCP"
            found.append((port.get("name") or "", moved.get(number, number), protocol, port.get("appProtocol") or ""))
    return tuple(found)


def _target(port: Object, pod: Object) -> int | None:
    wanted: Any = port.get("targetPort") or port["port"]
    if isinstance(wanted, int):
        return wanted
    if wanted.isdigit():
        return int(wanted)
    for container in _containers(pod):
        for declared in container.get("ports") or ():
            same = (declared.get("protocol") or "TCP") == (port.get("protocol") or "TCP")
            if declared.get("name") == wanted and same:
                return int(declared["containerPort"])
    return None


def _containers(pod: Object) -> list[Object]:
    spec = pod.get("spec") or {}
    sidecars = [found for found in spec.get("initContainers") or () if found.get("restartPolicy") == "Always"]
    return [*(spec.get("containers") or ()), *sidecars]


def _moved(pod: Object) -> dict[int, int]:
    text = (pod["metadata"].get("annotations") or {}).get(PORTS_ANNOTATION)
    if not text:
        return {}
    try:
        return {int(name): int(port) for name, port in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def said_by(pod: Object | None) -> tuple[Any, ...]:
    """All that endpoints depend on in a pod: while it stays, nothing needs to be decided again. A pod without an
    address is as one that is not there."""
    if pod is None or not ((pod.get("status") or {}).get("podIP") or (pod.get("status") or {}).get("podIPs")):
        return ()
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    return (
        metadata.get("uid"),
        pods.terminating(pod),
        pods.ready(pod),
        pods.finished(pod),
        status.get("podIP"),
        status.get("podIPs"),
        metadata.get("labels"),
        (metadata.get("annotations") or {}).get(PORTS_ANNOTATION),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )
