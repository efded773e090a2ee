"""Fits a Service's endpoints into its EndpointSlices with as few writes as Kubernetes' own reconciler.

Pure. A slice holds endpoints of one address type and one port set, at most 100. Endpoints stay in the slice they are
in; new ones go first into slices that are written anyway, then into the fullest slice that takes all that are left,
then into new slices. A Service without endpoints keeps one empty slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.api import kinds
from fairlead.controllers import ownership, writes
from fairlead.controllers.endpoints import desired
from fairlead.controllers.writes import Object

MOST = 100
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`pods` match the selector; `slices` are this controller's slices of the Service."""

    service: Object
    pods: Sequence[Object]
    slices: Sequence[Object]
    zone_of: Callable[[str], str]


def decide(snapshot: Snapshot) -> writes.Decision:
    """Slices to create, update and delete. Updates come first: they hold what must be taken out of traffic. An endpoint
    that moves (its ports have changed) is in its new slice before it leaves the old one."""
    service = snapshot.service
    found: list[writes.Write] = []
    wanted_families = desired.families(service)
    for family in wanted_families:
        grouped = desired.endpoints(service, snapshot.pods, family=family, zone_of=snapshot.zone_of)
        present = [one for one in snapshot.slices if one["addressType"] == family]
        found += _fit_family(service, family, grouped or {(): []}, present)
    found += [
        writes.delete(kinds.ENDPOINT_SLICE, one)
        for one in snapshot.slices
        if one["addressType"] not in wanted_families and "deletionTimestamp" not in one["metadata"]
    ]
    if len(found) > 1:
        found.sort(key=_order(found, snapshot.slices))
    return writes.Decision(tuple(found))


def _order(found: Sequence[writes.Write], before: Sequence[Object]) -> Callable[[writes.Write], int]:
    had = {one["metadata"]["name"]: _identities(one) for one in before}
    bodies = [write.body for write in found if isinstance(write, writes.Update | writes.Create)]
    after = frozenset[tuple[str, ...]]().union(*map(_identities, bodies))

    def rank(write: writes.Write) -> int:
        if isinstance(write, writes.Update):
            left = had.get(write.body["metadata"]["name"], frozenset()) - _identities(write.body)
            return 2 if left & after else 0
        return 1 if isinstance(write, writes.Create) else 3

    return rank


def _fit_family(
    service: Object, family: str, grouped: desired.Grouped, present: Sequence[Object]
) -> list[writes.Write]:
    by_ports: dict[desired.Ports, list[Object]] = {ports: [] for ports in grouped}
    found: list[writes.Write] = []
    for one in sorted(present, key=lambda one: str(one["metadata"]["name"])):
        ports = _ports(one)
        if ports in by_ports:
            by_ports[ports].append(one)
        else:
            found.append(writes.delete(kinds.ENDPOINT_SLICE, one))
    for ports, wanted in grouped.items():
        found += _fit(service, family, ports, wanted, by_ports[ports])
    return found


def _fit(
    service: Object, family: str, ports: desired.Ports, wanted: list[Object], present: list[Object]
) -> list[writes.Write]:
    missing = {_identity(endpoint): endpoint for endpoint in wanted}
    kept: dict[str, list[Object]] = {}
    changed: set[str] = set()
    for one in present:
        name = one["metadata"]["name"]
        kept[name] = [endpoint for old in one.get("endpoints") or () if (endpoint := missing.pop(_identity(old), None))]
        if kept[name] != (one.get("endpoints") or []):
            changed.add(name)
    left = list(missing.values())
    for name in [name for name in kept if name in changed]:
        left = _fill(kept[name], left)
    if left and (roomy := _best(kept, changed, len(left) % MOST or MOST)):
        rest = len(left) - (len(left) % MOST or MOST)
        kept[roomy] += left[rest:]
        changed.add(roomy)
        left = left[:rest]
    new = [left[start : start + MOST] for start in range(0, len(left), MOST)]
    return _written(service, family, ports, present, kept, new, empty=not wanted)


def _fill(kept: list[Object], left: list[Object]) -> list[Object]:
    room = MOST - len(kept)
    kept += left[:room]
    return left[room:]


def _best(kept: dict[str, list[Object]], changed: set[str], size: int) -> str | None:
    """The fullest untouched slice that takes them all."""
    fitting = [name for name in kept if name not in changed and kept[name] and len(kept[name]) + size <= MOST]
    return max(fitting, key=lambda name: len(kept[name]), default=None)


def _written(
    service: Object,
    family: str,
    ports: desired.Ports,
    present: list[Object],
    kept: dict[str, list[Object]],
    new: list[list[Object]],
    *,
    empty: bool,
) -> list[writes.Write]:
    found: list[writes.Write] = []
    placeholder = empty
    for one in present:
        endpoints = kept[one["metadata"]["name"]]
        if not endpoints and not placeholder:
            found.append(writes.delete(kinds.ENDPOINT_SLICE, one))
            continue
        placeholder = False if not endpoints else placeholder
        body = _body(service, family, ports, endpoints, one)
        if body != one:
            found.append(writes.Update(kinds.ENDPOINT_SLICE, body))
    fresh = [*new, *([[]] if placeholder else [])]
    return found + [writes.Create(kinds.ENDPOINT_SLICE, _body(service, family, ports, part, None)) for part in fresh]


def _body(service: Object, family: str, ports: desired.Ports, endpoints: list[Object], old: Object | None) -> Object:
    metadata = dict(old["metadata"]) if old is not None else {"generateName": f"{service['metadata']['name']}-"}
    metadata["namespace"] = service["metadata"]["namespace"]
    metadata["labels"] = labels_of(service)
    metadata["ownerReferences"] = [ownership.reference(kinds.SERVICE, service)]
    base = old or {"apiVersion": kinds.ENDPOINT_SLICE.api_version, "kind": "EndpointSlice"}
    body = {**base, "metadata": metadata, "addressType": family, "endpoints": endpoints, "ports": _listed(ports)}
    if old is not None:  # nil and empty are one
        for name in ("endpoints", "ports"):
            if not body[name] and not old.get(name):
                body.pop(name)
                if name in old:
                    body[name] = old[name]
    return body


def labels_of(service: Object) -> dict[str, str]:
    """A slice's labels: the Service's, and those that the controller owns."""
    given = service["metadata"].get("labels") or {}
    labels = {name: text for name, text in given.items() if name != HEADLESS}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return {**labels, SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}


def _listed(ports: desired.Ports) -> list[Object]:
    found = []
    for name, port, protocol, app_protocol in ports:
        entry: Object = {"name": name, "port": port, "protocol": protocol}
        if app_protocol:
            entry["appProtocol"] = app_protocol
        found.append(entry)
    return found


def _ports(one: Object) -> desired.Ports:
    return tuple(
        (port.get("name") or "", int(port["port"]), port.get("protocol") or "TCP", port.get("appProtocol") or "")
        for port in one.get("ports") or ()
    )


def _identities(one: Object) -> frozenset[tuple[str, ...]]:
    return frozenset(map(_identity, one.get("endpoints") or ()))


def _identity(endpoint: Object) -> tuple[str, ...]:
    return (*endpoint["addresses"], (endpoint.get("targetRef") or {}).get("uid", ""))
