"""Connections that the kernel tracks to one address: how many are established, and forgetting those without a state.

Speaks ctnetlink (linux/netfilter/nfnetlink_conntrack.h) and lets the kernel filter by the address that answers. Of IPv6
it tells all, and we choose: kernels up to 6.18 at least compare IPv6 addresses the wrong way round in this filter.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fairlead.dataplane import netlink

_GET = netlink.SUBSYS_CTNETLINK << 8 | 1
_DELETE = netlink.SUBSYS_CTNETLINK << 8 | 2
_TUPLE_ORIG, _TUPLE_REPLY, _PROTOINFO, _FILTER = 1, 2, 4, 25
_FLAG_SOURCE = 1
_TCP_ESTABLISHED = 3


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked connection. `original` is the tuple as the kernel gave it, for deletion."""

    protocol: int
    established: bool
    original: bytes
    answers: str
    port: int


def flows_to(link: netlink.Netlink, address: str) -> Iterator[Flow]:
    """All connections that this address answers. Raises netlink.NetlinkError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    source = netlink.attribute(3 if family == socket.AF_INET6 else 1, packed)
    wanted = netlink.nested(_TUPLE_REPLY, netlink.nested(1, source))
    flags = struct.pack("=I", _FLAG_SOURCE)
    filtered = netlink.nested(_FILTER, netlink.attribute(1, struct.pack("=I", 0)), netlink.attribute(2, flags))
    for body in link.dump(_GET, wanted + filtered if family == socket.AF_INET else b"", family=family):
        flow = _parse(body) if packed in bytes(body) else None
        if flow is not None and flow.answers == address:
            yield flow


def established(link: netlink.Netlink, address: str) -> int:
    """How many TCP connections to the address are established."""
    return sum(flow.established for flow in flows_to(link, address))


def forget(link: netlink.Netlink, address: str, *, protocol: int, port: int = 0) -> int:
    """Deletes the entries of that protocol (and port) to the address; the next packet is balanced anew."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    count = 0
    for flow in list(flows_to(link, address)):
        if flow.protocol == protocol and port in (0, flow.port):
            try:
                link.request(
                    _DELETE, 0, netlink.attribute(_TUPLE_ORIG | netlink.NLA_F_NESTED, flow.original), family=family
                )
                count += 1
            except netlink.NetlinkError:
                continue  # it ended by itself
    return count


def _parse(body: bytes) -> Flow | None:
    top = dict(netlink.attributes(body))
    if _TUPLE_ORIG not in top or _TUPLE_REPLY not in top:
        return None
    reply = dict(netlink.attributes(top[_TUPLE_REPLY]))
    addresses = dict(netlink.attributes(reply[1]))
    ports = dict(netlink.attributes(reply[2]))
    raw = bytes(addresses.get(1) or addresses.get(3) or b"")
    answers = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw) if raw else ""
    port = struct.unpack(">H", ports[2])[0] if 2 in ports else 0
    return Flow(ports[1][0] if 1 in ports else 0, _is_established(top), bytes(top[_TUPLE_ORIG]), answers, port)


def _is_established(top: dict[int, memoryview]) -> bool:
    tcp = dict(netlink.attributes(top.get(_PROTOINFO, memoryview(b"")))).get(1)
    if tcp is None:
        return False
    state = dict(netlink.attributes(tcp)).get(1)
    return state is not None and state[0] == _TCP_ESTABLISHED
