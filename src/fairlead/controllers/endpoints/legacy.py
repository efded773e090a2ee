"""The older `v1.Endpoints` of a Service with a selector, for clients that still read it. Pure.

Addresses of one port set are one subset, ready and not ready apart; pods that are being deleted are left out. At most
1,000 addresses, then the annotation `endpoints.kubernetes.io/over-capacity: truncated` says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.api import kinds
from fairlead.controllers import writes
from fairlead.controllers.endpoints import desired, slices
from fairlead.controllers.writes import Object

MOST = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def decide(service: Object, pods: Sequence[Object], present: Object | None) -> writes.Decision:
    """The one Endpoints object to create or update."""
    family = desired.families(service)[0]
    grouped = desired.endpoints(service, pods, family=family, zone_of=lambda node: "")
    subsets, left = [], MOST
    for ports, found in sorted(grouped.items()):
        live = [endpoint for endpoint in found if not endpoint["conditions"]["terminating"]][:left]
        left -= len(live)
        if live:
            subsets.append(_subset(ports, live))
    truncated = sum(len(found) for found in grouped.values()) > MOST
    body = _body(service, subsets, present, truncated=truncated)
    if present is None:
        return writes.Decision((writes.Create(kinds.ENDPOINTS, body),))
    if not subsets and not present.get("subsets"):  # nil and empty are one
        body = {**body, "subsets": present.get("subsets")} if "subsets" in present else _without_subsets(body)
    return writes.NOTHING if body == present else writes.Decision((writes.Update(kinds.ENDPOINTS, body),))


def _without_subsets(body: Object) -> Object:
    return {name: value for name, value in body.items() if name != "subsets"}


def _subset(ports: desired.Ports, endpoints: Sequence[Object]) -> Object:
    found: Object = {}
    for name, ready in (("addresses", True), ("notReadyAddresses", False)):
        listed = [_address(endpoint) for endpoint in endpoints if endpoint["conditions"]["ready"] is ready]
        if listed:
            found[name] = listed
    if ports:
        found["ports"] = [_port(port) for port in ports]
    return found


def _port(port: tuple[str, int, str, str]) -> Object:
    name, number, protocol, app_protocol = port
    found: Object = {"port": number, "protocol": protocol}
    if name:
        found["name"] = name
    if app_protocol:
        found["appProtocol"] = app_protocol
    return found


def _address(endpoint: Object) -> Object:
    found: Object = {"ip": endpoint["addresses"][0], "targetRef": endpoint["targetRef"]}
    for name in ("hostname", "nodeName"):
        if endpoint.get(name):
            found[name] = endpoint[name]
    return found


def _body(service: Object, subsets: list[Object], present: Object | None, *, truncated: bool) -> Object:
    metadata = dict(present["metadata"]) if present else {}
    metadata["name"], metadata["namespace"] = service["metadata"]["name"], service["metadata"]["namespace"]
    labels = {**(service["metadata"].get("labels") or {}), "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    if service["spec"].get("clusterIP") == "None":
        labels[slices.HEADLESS] = ""
    metadata["labels"] = labels
    annotations = {name: text for name, text in (metadata.get("annotations") or {}).items() if name != OVER_CAPACITY}
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    base = present or {"apiVersion": "v1", "kind": "Endpoints"}
    return {**base, "metadata": metadata, "subsets": subsets}
