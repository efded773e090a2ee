"""What a routing table means, in plain Python: the reference that planes are tested against and `explain` answers from.

`http` picks a Route for a request, by the precedence of docs/protocol.md; `packet` says where a connection to an
address goes: to endpoints, REJECT, DROP, or PASS (the address is no Service's). Which of several endpoints is the
algorithm's choice, not the table's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from fairlead.routing import endpoints, paths, table


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it arrives at a Listener, its path in the normal form (`paths`). Header names in lower case."""

    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """The node that a packet crosses: its own addresses, the networks of its pods, and those of Services."""

    addresses: tuple[str, ...] = ()
    pod_networks: tuple[str, ...] = ()
    service_networks: tuple[str, ...] = ()

    def holds(self, source: str) -> bool:
        """Whether a client with that address is on this node (a pod or the node itself)."""
        return source in self.addresses or self.is_pod(source)

    def is_pod(self, address: str) -> bool:
        """Whether the address is one of a pod."""
        return any(_within(address, network) for network in self.pod_networks)


@dataclass(frozen=True, slots=True)
class Answer:
    """Where a connection goes. `masquerade`: the endpoint sees the node's address instead of the client's."""

    verdict: Literal["ENDPOINTS", "REJECT", "DROP", "PASS"]
    endpoints: tuple[table.Endpoint, ...] = ()
    masquerade: bool = False
    backend: str = ""


def http(structure: table.Structure, listener: str, request: HttpRequest) -> table.Route | None:
    """The Route that answers; None is a 404."""
    ranked = candidates(structure, listener, request)
    return ranked[0] if ranked else None


def candidates(structure: table.Structure, listener: str, request: HttpRequest) -> list[table.Route]:
    """All Routes that match, best first."""
    found = [
        (_rank(route, host), route)
        for route in structure.routes.values()
        if listener in route.listeners
        for host in (_best_host(route.hosts, request.host),)
        if host is not None and _matches(route.match, request)
    ]
    return [route for _, route in sorted(found, key=lambda pair: pair[0])]


def _best_host(hosts: Sequence[str], asked: str) -> str | None:
    """The most specific of the Route's hosts that covers the asked one; "" when it has none; None when none does."""
    name = asked.lower().rsplit(":", 1)[0] if not asked.endswith("]") else asked.lower()
    if not hosts:
        return ""
    matching = [host for host in hosts if _host_matches(host.lower(), name)]
    return min(matching, key=_host_rank, default=None)


def _host_matches(host: str, name: str) -> bool:
    if host.startswith("**."):
        return name.endswith(host[2:]) and len(name) > len(host) - 2
    if host.startswith("*."):
        label, _, rest = name.partition(".")
        return bool(label) and rest == host[2:]
    return host == name


def _host_rank(host: str) -> tuple[int, int]:
    if not host:
        return (2, 0)
    return (1, -len(host.lstrip("*"))) if host.startswith("*") else (0, 0)


def _matches(match: table.Match, request: HttpRequest) -> bool:
    return (
        (match.path is None or path_matches(match.path, request.path))
        and match.method in ("", request.method)
        and all(_value_matches(one, request.headers.get(one.name.lower())) for one in match.headers)
        and all(_value_matches(one, request.query.get(one.name)) for one in match.query)
    )


def path_matches(match: table.PathMatch, path: str) -> bool:
    """Prefixes match whole path elements: `/foo` matches `/foo` and `/foo/bar`, never `/foobar`."""
    value = paths.of_route(match.value)
    wanted, asked = (value.lower(), path.lower()) if match.ignore_case else (value, path)
    if match.type == "exact":
        return wanted == asked
    if match.type == "regex":
        return re.search(match.value, path, re.IGNORECASE if match.ignore_case else 0) is not None
    if match.type == "starts":
        return asked.startswith(wanted)
    prefix = wanted.rstrip("/")
    return asked == prefix or asked.startswith(prefix + "/")


def _value_matches(match: table.ValueMatch, value: str | None) -> bool:
    if value is None:
        return False
    if match.type == "regex":
        return re.fullmatch(match.value, value) is not None
    return match.type == "present" or match.value == value


def _rank(route: table.Route, host: str) -> tuple[object, ...]:
    path, match = route.match.path, route.match
    kind = {"exact": 0, "prefix": 1, "starts": 1, "regex": 2}[path.type] if path else 3
    length = -len(path.value) if path else 0
    last_first = tuple(-ord(letter) for letter in path.value) if path and path.type == "regex" else ()
    return (
        _host_rank(host),
        kind,
        length,
        last_first,
        not match.method,
        -len(match.headers),
        -len(match.query),
        route.order,
        route.id,
    )


def packet(
    structure: table.Structure,
    delta: Mapping[str, Iterable[table.Endpoint]],
    *,
    source: str,
    protocol: str,
    address: str,
    port: int,
    node: Node = Node(),
) -> Answer:
    """Where the first packet of a connection goes, once the table is applied."""
    found = _virtual(structure, protocol, address, port, node)
    if found is None:
        return _unknown(structure, address, node)
    backend, virtual = found
    inside = node.holds(source)
    if structure.shut == "outside" and virtual.external and not node.is_pod(source):
        return Answer("REJECT", backend=backend)
    if virtual.sources and not any(_within(source, network) for network in virtual.sources):
        return Answer("DROP", backend=backend)
    wide = virtual.external and bool(virtual.cluster) and inside
    chosen = virtual.cluster if wide else backend
    if structure.shut == "all":
        return Answer("REJECT", backend=chosen)
    usable = endpoints.serving(e for e in delta.get(chosen, ()) if (":" in e.address) == (":" in address))
    if not usable:
        drop = bool(virtual.cluster) and not wide and any(delta.get(virtual.cluster, ()))
        return Answer("DROP" if drop else "REJECT", backend=chosen)
    return Answer("ENDPOINTS", usable, _masqueraded(virtual, source, node), chosen)


def _masqueraded(virtual: table.Virtual, source: str, node: Node) -> bool:
    """As kube-proxy: clients on the node itself always, strangers at a clusterIP, everyone at an external address.

    Policy Local keeps the source there. A pod that is its own endpoint is masqueraded, too; that is not known here.
    """
    if source in node.addresses:
        return True
    if virtual.external:
        return not virtual.cluster
    return bool(node.pod_networks) and not node.is_pod(source)


def _unknown(structure: table.Structure, address: str, node: Node) -> Answer:
    """A clusterIP refuses ports that its Service has not; an address that no Service has is silent."""
    virtuals = (one for backend in structure.backends.values() for one in backend.virtual)
    if any(one.address == address and not one.external for one in virtuals):
        return Answer("REJECT")
    unallocated = any(_within(address, network) for network in node.service_networks)
    return Answer("DROP" if unallocated else "PASS")


def _virtual(
    structure: table.Structure, protocol: str, address: str, port: int, node: Node
) -> tuple[str, table.Virtual] | None:
    found = None
    for backend in structure.backends.values():
        transport = "udp" if backend.protocol == "udp" else "tcp"
        for virtual in backend.virtual:
            if virtual.port != port or transport != protocol:
                continue
            if virtual.address == address and not virtual.node_port:
                return backend.id, virtual
            v6 = virtual.address == "::"
            if virtual.node_port and address in node.addresses and (":" in address) == v6:
                found = backend.id, virtual
    return found


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def closed(route: table.Route, why: str) -> table.Route:
    """What a refused Route matches as a closed door. `why` begins with the path of the field that was refused.

    A path's expression that does not compile stands for what begins as it does, a value's for any value.
    """
    path = route.match.path
    if path is not None and path.type == "regex" and why.startswith("match.path"):
        path = msgspec.structs.replace(path, value=_beginning(path.value))
    headers, query = (
        tuple(
            table.ValueMatch(name=one.name, type="present")
            if one.type == "regex" and why.startswith(("match.headers", "match.query"))
            else one
            for one in values
        )
        for values in (route.match.headers, route.match.query)
    )
    return msgspec.structs.replace(
        route, match=msgspec.structs.replace(route.match, path=path, headers=headers, query=query)
    )


def _beginning(expression: str) -> str:
    if "|" in expression:
        return ""
    anchor, rest = ("^", expression[1:]) if expression.startswith("^") else ("", expression)
    return anchor + paths.beginning(rest)
