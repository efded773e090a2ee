"""EndpointSlices of Endpoints that a user wrote for a Service without a selector: what traffic follows. Pure.

Follows Kubernetes' `pkg/controller/endpointslicemirroring`: one slice a subset and address family, at most 1,000
addresses of a subset (more are left out, and an Event says so). Left alone: Endpoints with the label
`endpointslice.kubernetes.io/skip-mirror: "true"`, those of a leader election, those whose Service has a selector or is
not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.api import kinds
from fairlead.controllers import ownership, writes
from fairlead.controllers.endpoints import slices
from fairlead.controllers.writes import Object

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
MOST = 1000


def mirrored(endpoints: Object | None, service: Object | None) -> bool:
    """Whether slices are made of these Endpoints."""
    if endpoints is None or service is None or service["spec"].get("selector"):
        return False
    metadata = endpoints["metadata"]
    skipped = (metadata.get("labels") or {}).get(SKIP) == "true"
    return not skipped and _LEADER not in (metadata.get("annotations") or {})


def decide(endpoints: Object | None, service: Object | None, present: Sequence[Object]) -> writes.Decision:
    """Slices to create, update and delete; `present` are those made by us for these Endpoints."""
    if endpoints is None or not mirrored(endpoints, service):
        return writes.Decision(tuple(writes.delete(kinds.ENDPOINT_SLICE, one) for one in present))
    wanted = _slices(endpoints)
    found: list[writes.Write] = []
    left = sorted(present, key=lambda one: str(one["metadata"]["name"]))
    for body in wanted:
        if left:
            found += _updated(left.pop(0), body)
        else:
            found.append(writes.Create(kinds.ENDPOINT_SLICE, body))
    found += [writes.delete(kinds.ENDPOINT_SLICE, one) for one in left]
    if any(_count(subset) > MOST for subset in endpoints.get("subsets") or ()):
        text = f"Endpoints {endpoints['metadata']['name']}: only {MOST} addresses of a subset are mirrored"
        found.append(writes.Note(endpoints, "Warning", "TooManyAddressesToMirror", text))
    return writes.Decision(tuple(found))


def _count(subset: Object) -> int:
    return len(subset.get("addresses") or ()) + len(subset.get("notReadyAddresses") or ())


def _slices(endpoints: Object) -> list[Object]:
    metadata = endpoints["metadata"]
    labels = {
        name: text
        for name, text in (metadata.get("labels") or {}).items()
        if name not in ("endpoints.kubernetes.io/managed-by", slices.HEADLESS)
    }
    head = {
        "generateName": f"{metadata['name']}-",
        "namespace": metadata["namespace"],
        "labels": {**labels, slices.SERVICE_NAME: metadata["name"], slices.MANAGED_BY: MANAGER},
        "ownerReferences": [ownership.reference(kinds.ENDPOINTS, endpoints)],
    }
    found = []
    for subset in endpoints.get("subsets") or ():
        listed = [(one, True) for one in subset.get("addresses") or ()]
        listed += [(one, False) for one in subset.get("notReadyAddresses") or ()]
        for family, is_six in (("IPv4", False), ("IPv6", True)):
            members = [_endpoint(one, ready) for one, ready in listed[:MOST] if (":" in one["ip"]) == is_six]
            if members:
                ports = [_port(port) for port in subset.get("ports") or ()]
                found.append({"metadata": head, "addressType": family, "endpoints": members, "ports": ports})
    return found


def _endpoint(address: Object, ready: bool) -> Object:
    found: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for name in ("hostname", "nodeName", "targetRef"):
        if address.get(name):
            found[name] = address[name]
    return found


def _port(port: Object) -> Object:
    found: Object = {"name": port.get("name", ""), "port": port["port"], "protocol": port.get("protocol", "TCP")}
    if port.get("appProtocol"):
        found["appProtocol"] = port["appProtocol"]
    return found


def _updated(known: Object, body: Object) -> list[writes.Write]:
    if known.get("addressType") != body["addressType"]:  # which may not change
        return [writes.delete(kinds.ENDPOINT_SLICE, known), writes.Create(kinds.ENDPOINT_SLICE, body)]
    if _said(known) == _said(body) and known["metadata"].get("labels") == body["metadata"]["labels"]:
        return []
    metadata = {**known["metadata"], "labels": body["metadata"]["labels"]}
    changed = {**known, "metadata": metadata, "endpoints": body["endpoints"], "ports": body["ports"]}
    return [writes.Update(kinds.ENDPOINT_SLICE, changed)]


def _said(piece: Object) -> Any:
    endpoints = [
        {**one, "conditions": {"ready": (one.get("conditions") or {}).get("ready", True)}}
        for one in piece.get("endpoints") or ()
    ]
    return endpoints, piece.get("ports") or []
