"""The addresses and sockets through which a Service is reached, and what of it this network mode must refuse.

Loopback mode: every Service port is a Listener on the Service's own 127.x.y.z. Kernel mode: the addresses are rules of
the kernel; only what it cannot do is redirected to one transparent Listener per protocol, with a socket per address
family. Of datagrams the kernel does not tell where they were going, so each such UDP port has a Listener of its own. In
both, node ports and load balancers' ports are also listened on at the node's own loopback addresses, which the kernel
does not redirect; a Service of one address family is reached at the other's, too (`localhost` is either), unless a
Service of that family wants the port.
"""

from __future__ import annotations

import zlib
from typing import Any

from fairlead.routing import addresses, carrier, draft, settings, table

Object = dict[str, Any]
_LOOPBACK = {"IPv4": "127.0.0.1", "IPv6": "::1"}
TRANSPARENT_TCP = "transparent-tcp"
TRANSPARENT_HTTP = "transparent-http"
_DATAGRAM_PORTS = range(16384, 24576)  # on the gateway, where nobody else listens
_TRIES = 16


def external_virtuals(work: draft.Draft, service: Object, port: Object, family: str) -> tuple[table.Virtual, ...]:
    """The port's addresses for clients outside, in kernel mode."""
    spec = service.get("spec") or {}
    if not work.settings.kernel:
        return ()
    found = [
        table.Virtual(address=address, port=port["port"], external=True)
        for address in map(addresses.canonical, spec.get("externalIPs") or ())
        if addresses.family(address) == family
    ]
    ranges = _source_ranges(service)
    for entry in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        address = addresses.canonical(entry.get("ip") or "")
        own = address.startswith("127.") or address == "::1" or entry.get("ipMode") == "Proxy"
        if not own and addresses.family(address) == family:
            sources = (*ranges, address) if ranges else ()  # the address itself: where the node has it, it is the node
            found.append(table.Virtual(address=address, port=port["port"], external=True, sources=sources))
    if port.get("nodePort") and spec.get("type") in ("NodePort", "LoadBalancer"):
        every = "::" if family == "IPv6" else ""
        found.append(table.Virtual(address=every, port=port["nodePort"], node_port=True, external=True))
    return tuple(found)


def _source_ranges(service: Object) -> tuple[str, ...]:
    """`loadBalancerSourceRanges` of a load balancer; one that is no network lets nobody in."""
    spec = service.get("spec") or {}
    if spec.get("type") != "LoadBalancer":
        return ()
    wanted = map(str, spec.get("loadBalancerSourceRanges") or ())
    return tuple(addresses.canonical_network(one) or "255.255.255.255/32" for one in wanted)


def refuse(work: draft.Draft, service: Object) -> None:
    """Says what of the Service this network mode cannot do."""
    spec, obj = service.get("spec") or {}, f"Service/{draft.key(service)}"
    for index, one in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if not addresses.canonical_network(str(one)):
            path = f"spec.loadBalancerSourceRanges[{index}]"
            work.problem(obj, path, "InvalidNetwork", f"{one!r} is no network such as 192.0.2.0/24")
    if not work.settings.kernel and spec.get("externalIPs"):
        work.problem(obj, "spec.externalIPs", "NeedsKernelNetwork", "external addresses need --network kernel")
    ranges = spec.get("loadBalancerSourceRanges") and spec.get("type") == "LoadBalancer"
    if work.settings.kernel and ranges and not spec.get("loadBalancerClass"):
        work.problem(
            obj, "spec.loadBalancerSourceRanges", "OnlyThisMachine",
            "the load balancer's address is reached by this machine only, whatever the ranges say; they hold at the "
            "addresses that the controller of a loadBalancerClass gives",
        )  # fmt: skip
    if not work.settings.kernel and spec.get("loadBalancerSourceRanges"):
        work.problem(
            obj, "spec.loadBalancerSourceRanges", "NeedsKernelNetwork",
            "source ranges need --network kernel; without it only this machine reaches the Service",
        )  # fmt: skip


def add_listeners(
    work: draft.Draft,
    service: Object,
    port: Object,
    *,
    address: str,
    suffix: str,
    inside: str,
    outside: str,
    alone: bool,
) -> None:
    """The sockets that the engine listens on for this port of the Service, at this one of its addresses; `alone`: it
    has no other."""
    spec = service.get("spec") or {}
    base = f"service/{draft.key(service)}/{port.get('name') or port['port']}"
    if not work.settings.kernel:
        _listen(work, f"{base}{suffix}", inside, address, work.settings.carried_port(port["port"]))
    own = _LOOPBACK[addresses.family(address)]
    others = {f"/{addresses.family(one)}": one for one in work.settings.localhost if alone and one != own}
    for ending, door in {suffix: own, **others}.items():
        if port.get("nodePort") and spec.get("type") in ("NodePort", "LoadBalancer"):
            _listen(work, f"{base}/node{ending}", outside, door, port["nodePort"], lent=door != own)
        if spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass"):
            at = work.settings.carried_port(port["port"])
            _listen(work, f"{base}/load-balancer{ending}", outside, door, at, lent=door != own)


def add_datagram_door(work: draft.Draft, backend: str, address: str) -> None:
    """Where the kernel leads the datagrams of a Backend that it cannot balance itself: the same port every time, unless
    somebody has it."""
    target, where = work.backends[backend], work.settings
    gateway = where.gateway6 if ":" in address else where.gateway
    if not (gateway and target.virtual and target.protocol == "udp" and carrier.carrier(target) == "engine-l4"):
        return
    listener = f"{carrier.DATAGRAMS}/{backend}"
    for turn in range(_TRIES):
        number = zlib.crc32(f"{backend} {turn}".encode()) % len(_DATAGRAM_PORTS)
        socket = settings.socket_id("udp", gateway, _DATAGRAM_PORTS[number])
        if work.claim(socket, listener) == listener:
            work.listeners[listener] = table.Listener(id=listener, protocol="udp", sockets=(socket,), backend=backend)
            return


def add_health_port(work: draft.Draft, service: Object, backend: str) -> None:
    """`healthCheckNodePort`: where outer load balancers ask whether this node has endpoints of the Service."""
    spec = service.get("spec") or {}
    port = spec.get("healthCheckNodePort")
    if not port or spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
        return
    name = f"service/{draft.key(service)}/health"
    where = work.settings
    places = [settings.socket_id("tcp", one, port) for one in (where.everywhere if where.kernel else where.localhost)]
    sockets = tuple(one for one in places if work.claim(one, name) == name)
    if sockets:
        work.listeners[name] = table.Listener(id=name, protocol="health", sockets=sockets, backend=backend)


def _listen(work: draft.Draft, listener: str, backend: str, address: str, port: int, *, lent: bool = False) -> None:
    target = work.backends[backend]
    socket = settings.socket_id("udp" if target.protocol == "udp" else "tcp", address, port)
    holder = (work.borrow if lent else work.claim)(socket, listener)
    if holder != listener and lent:
        return
    if holder != listener:
        door = "the Service's own address works" if listener.count("/") > 3 else "change one of the two ports"
        work.problem(target.info.object, target.info.rule, "PortTaken", f"{socket} belongs to {holder}; {door}")
        return
    l7 = carrier.carrier(target) == "engine-l7"
    protocol: Any = "http" if l7 else target.protocol
    work.listeners[listener] = table.Listener(
        id=listener,
        protocol=protocol,
        sockets=(socket,),
        backend="" if l7 else backend,
        http=table.HttpSettings(h2c=target.protocol == "h2c") if l7 else None,
    )
    if l7:
        route = listener.replace("service/", "Service/", 1)
        backends = (table.WeightedBackend(backend=backend),)
        work.routes[route] = table.Route(id=route, listeners=(listener,), backends=backends, info=target.info)


def add_transparent(work: draft.Draft, carried: frozenset[tuple[carrier.Carrier, str]]) -> None:
    """One Listener per protocol for what the kernel redirects, when something is to be redirected.

    `carried`: who carries the addresses that the kernel knows, and speaking what.
    """
    where = work.settings
    if not where.kernel:
        return
    if ("engine-l4", "tcp") in carried:
        sockets = _gateways(where, where.transparent_tcp_port)
        listener = table.Listener(id=TRANSPARENT_TCP, protocol="tcp", sockets=sockets, transparent=True)
        work.listeners[TRANSPARENT_TCP] = listener
    spoken = {protocol for who, protocol in carried if who == "engine-l7"}
    if spoken:
        sockets = _gateways(where, where.transparent_http_port)
        http = table.HttpSettings(h2c="h2c" in spoken)
        work.listeners[TRANSPARENT_HTTP] = table.Listener(
            id=TRANSPARENT_HTTP, protocol="http", sockets=sockets, transparent=True, http=http
        )


def _gateways(where: settings.Settings, port: int) -> tuple[str, ...]:
    """One socket for each address family that pods have."""
    return tuple(settings.socket_id("tcp", one, port) for one in (where.gateway, where.gateway6) if one)
