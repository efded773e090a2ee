"""Which endpoints, for this policy, from here: one answer for every plane.

Follows kube-proxy's `CategorizeEndpoints` (KEP-1669 terminating endpoints, KEP-2086 internal traffic policy, KEP-2433
and KEP-4444 topology hints): ready endpoints are used; where none is ready, those that terminate but still serve;
policy Local keeps a node's own; hints narrow ready endpoints to the node or zone when every one of them carries hints.
A plane that can prefer what is near without overloading it (`spills`) gets all of them, and where each one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.routing import addresses, table


@dataclass(frozen=True, slots=True)
class Here:
    """Where the answer will be used."""

    node: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one Backend's endpoints come from: a port of a Service's EndpointSlices, and the policy for choosing."""

    backend: str
    service: str  # namespace/name
    port: str = ""  # the Service port's name
    protocol: str = "TCP"
    family: str = "IPv4"
    local_only: bool = False
    publish_not_ready: bool = False
    spills: bool = False  # the plane itself prefers near endpoints: hints do not narrow
    any_port: bool = False  # of a headless Service without ports: only the addresses mean something

    @property
    def choice(self) -> tuple[object, ...]:
        """All but whose they are: Backends of one Service with the same choice have the same endpoints."""
        return (
            self.port, self.protocol, self.family, self.local_only, self.publish_not_ready, self.spills, self.any_port,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An address that is not used now, and why."""

    address: str
    port: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The endpoints of one Backend, ready ones and those to fall back on, and who was left out."""

    endpoints: tuple[table.Endpoint, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class _Candidate(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    endpoint: table.Endpoint
    ready: bool
    fallback: bool  # terminating, but serving
    node: str
    hint_nodes: tuple[str, ...]
    hint_zones: tuple[str, ...]


def serving(endpoints: Iterable[table.Endpoint]) -> tuple[table.Endpoint, ...]:
    """Those that get new connections: the ready ones, else the draining ones."""
    every = tuple(endpoints)
    return tuple(endpoint for endpoint in every if endpoint.state == "ready") or every


def choose(source: Source, slices: Iterable[dict[str, Any]], *, here: Here) -> Choice:
    """The Backend's endpoints among the slices of its Service."""
    candidates = _candidates(source, slices)
    left_out: list[LeftOut] = []
    kept = _keep(candidates, lambda c: _locality(c, source, here), left_out)
    ready = [c for c in kept if c.ready]
    narrows = not source.local_only and not source.spills
    narrowed = _keep(ready, _narrowing(ready, here), left_out) if narrows else ready
    fallback = _keep([c for c in kept if not c.ready], _unready_reason, left_out)
    chosen = [c.endpoint for c in (*narrowed, *fallback)]
    return Choice(tuple(sorted(chosen, key=lambda e: (e.address, e.port))), tuple(left_out))


def backend_endpoints(source: Source, slices: Iterable[dict[str, Any]], *, here: Here) -> table.BackendEndpoints:
    """`choose` as a delta for the planes."""
    return table.BackendEndpoints(backend=source.backend, endpoints=choose(source, slices, here=here).endpoints)


def _candidates(source: Source, slices: Iterable[dict[str, Any]]) -> list[_Candidate]:
    found: dict[tuple[str, int], _Candidate] = {}
    for one in slices:
        if one.get("addressType", "IPv4") != source.family:
            continue
        port = _slice_port(source, one.get("ports") or ())
        if port is None:
            continue
        for entry in one.get("endpoints") or ():
            candidate = _candidate(source, entry, port)
            if candidate is None:
                continue
            known = found.get((candidate.endpoint.address, port))
            if known is None or (candidate.ready and not known.ready):  # an address may be in two slices for a moment
                found[(candidate.endpoint.address, port)] = candidate
    return list(found.values())


def _slice_port(source: Source, ports: Sequence[dict[str, Any]]) -> int | None:
    if source.any_port:
        return int(ports[0].get("port") or 0) if ports else 0
    for port in ports:
        same = (port.get("name") or "") == source.port and (port.get("protocol") or "TCP") == source.protocol
        if same and port.get("port"):
            return int(port["port"])
    return None


def _candidate(source: Source, entry: dict[str, Any], port: int) -> _Candidate | None:
    first = str((entry.get("addresses") or ("",))[0])  # the others mean nothing to a proxy, by the API's own words
    address = addresses.canonical(first)
    if addresses.family(address) != source.family:
        return None
    conditions = entry.get("conditions") or {}
    ready = conditions.get("ready") is not False or source.publish_not_ready
    serves = conditions.get("serving")
    serves = ready if serves is None else serves
    hints = entry.get("hints") or {}
    target = entry.get("targetRef") or {}
    name = f"{target.get('namespace', '')}/{target['name']}" if target.get("kind") == "Pod" else ""
    return _Candidate(
        endpoint=table.Endpoint(
            address=address,
            port=port,
            zone=entry.get("zone") or "",
            node=entry.get("nodeName") or "" if source.spills else "",
            state="ready" if ready else "draining",
            name=name,
            hostname=entry.get("hostname") or "",
        ),
        ready=ready,
        fallback=bool(serves and conditions.get("terminating")),
        node=entry.get("nodeName") or "",
        hint_nodes=_hinted(hints, "forNodes"),
        hint_zones=_hinted(hints, "forZones"),
    )


def _hinted(hints: dict[str, Any], to: str) -> tuple[str, ...]:
    return tuple(hint.get("name", "") for hint in hints.get(to) or ()) if hints else ()


def _keep(candidates: list[_Candidate], reason: Any, left_out: list[LeftOut]) -> list[_Candidate]:
    kept = []
    for candidate in candidates:
        why = reason(candidate)
        if not why:
            kept.append(candidate)
            continue
        endpoint = candidate.endpoint
        left_out.append(LeftOut(endpoint.address, endpoint.port, endpoint.name, why))
    return kept


def _locality(candidate: _Candidate, source: Source, here: Here) -> str:
    if source.local_only and candidate.node != here.node:
        return f"traffic policy Local, and it is on node {candidate.node or '(none)'}"
    return ""


def _unready_reason(candidate: _Candidate) -> str:
    return "" if candidate.fallback else "not ready"


def _narrowing(ready: list[_Candidate], here: Here) -> Any:
    """Why a ready candidate is not for this place, by the slices' hints; everything is, unless all carry hints."""
    if here.node and all(c.hint_nodes for c in ready) and any(here.node in c.hint_nodes for c in ready):
        return lambda c: "" if here.node in c.hint_nodes else "hinted to another node"
    if here.zone and all(c.hint_zones for c in ready) and any(here.zone in c.hint_zones for c in ready):
        return lambda c: "" if here.zone in c.hint_zones else "hinted to another zone"
    return lambda c: ""
