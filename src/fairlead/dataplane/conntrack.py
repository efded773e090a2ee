"""Connections that the kernel tracks to one address: which are established, and forgetting those without a state.

Speaks ctnetlink (linux/netfilter/nfnetlink_conntrack.h) and lets the kernel filter by the address that answers, by
protocol and port. Kernels up to 6.18 at least compare IPv6 addresses the wrong way round in this filter, so of IPv6
they filter by protocol and port alone, and we choose by the address. Whoever waits for connections to end asks for the
whole table once, then for each of the few that are left.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fairlead.dataplane import netlink

_GET = netlink.SUBSYS_CTNETLINK << 8 | 1
_DELETE = netlink.SUBSYS_CTNETLINK << 8 | 2
_TUPLE_ORIG, _TUPLE_REPLY, _PROTOINFO, _ID, _FILTER = 1, 2, 4, 12, 25
_FLAG_SOURCE, _FLAG_PROTOCOL, _FLAG_SOURCE_PORT = 1, 8, 16  # linux/netfilter/nf_conntrack_netlink.c
_FEW = 256  # as many are asked for one by one
_TCP_ESTABLISHED = 3


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked connection. `original` is the tuple as the kernel gave it, `identity` its number: together they name
    this entry and no later one."""

    protocol: int
    established: bool
    original: bytes
    identity: bytes
    answers: str
    port: int
    source: str = ""
    meant: str = ""  # the address that it was made to


def flows_to(link: netlink.Netlink, address: str, *, protocol: int, port: int = 0) -> Iterator[Flow]:
    """The connections of that protocol that this address answers, at that port or any. Raises netlink.NetlinkError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    for body in link.dump(_GET, _wanted(packed, protocol, port), family=family):
        flow = _parse(body) if packed in bytes(body) else None
        if flow is not None and flow.answers == address and flow.protocol == protocol and port in (0, flow.port):
            yield flow


def every_established(link: netlink.Netlink, *, families: Iterable[int] = (4, 6)) -> Iterator[Flow]:
    """All TCP connections that are established. Raises netlink.NetlinkError."""
    for version in families:
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        for body in link.dump(_GET, b"", family=family):
            flow = _parse(body)
            if flow is not None and flow.protocol == socket.IPPROTO_TCP and flow.established:
                yield flow


def _wanted(packed: bytes, protocol: int, port: int) -> bytes:
    """What the kernel is to tell of: a reply tuple, and which of its parts count."""
    flags, parts = _FLAG_PROTOCOL, [netlink.attribute(1, bytes([protocol]))]
    if port:
        flags |= _FLAG_SOURCE_PORT
        parts.append(netlink.attribute(2, struct.pack(">H", port)))
    tuple_ = [netlink.nested(2, *parts)]
    if len(packed) == 4:
        flags |= _FLAG_SOURCE
        tuple_.insert(0, netlink.nested(1, netlink.attribute(1, packed)))
    none, these = (struct.pack("=I", value) for value in (0, flags))
    return netlink.nested(_TUPLE_REPLY, *tuple_) + netlink.nested(
        _FILTER, netlink.attribute(1, none), netlink.attribute(2, these)
    )


def established(link: netlink.Netlink, address: str) -> list[Flow]:
    """The TCP connections to the address that are established."""
    return [flow for flow in flows_to(link, address, protocol=socket.IPPROTO_TCP) if flow.established]


def left_of(link: netlink.Netlink, address: str, before: Sequence[Flow]) -> list[Flow]:
    """The established connections to the address, where they were these a while ago and there should be no new one: the
    kernel's whole table is asked for only when none of them is left, or when they are many."""
    still = [flow for flow in before if _is_still(link, address, flow)] if len(before) <= _FEW else []
    return still or established(link, address)


def _is_still(link: netlink.Netlink, address: str, flow: Flow) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        body = link.ask(_GET, netlink.attribute(_TUPLE_ORIG | netlink.NLA_F_NESTED, flow.original), family=family)
    except netlink.NetlinkError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    now = _parse(body)
    return now is not None and now.established and now.answers == address


def forget(link: netlink.Netlink, address: str, *, protocol: int, port: int = 0) -> int:
    """Deletes the entries of that protocol (and port) to the address; the next packet is balanced anew."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    count = 0
    for flow in list(flows_to(link, address, protocol=protocol, port=port)):
        try:
            named = netlink.attribute(_TUPLE_ORIG | netlink.NLA_F_NESTED, flow.original)
            link.request(_DELETE, 0, named + netlink.attribute(_ID, flow.identity), family=family)
            count += 1
        except netlink.NetlinkError:
            continue  # it ended by itself
    return count


def _parse(body: bytes) -> Flow | None:
    top = dict(netlink.attributes(body))
    if _TUPLE_ORIG not in top or _TUPLE_REPLY not in top:
        return None
    reply = dict(netlink.attributes(top[_TUPLE_REPLY]))
    ports = dict(netlink.attributes(reply[2]))
    answers, _ = _ends(reply)
    source, meant = _ends(dict(netlink.attributes(top[_TUPLE_ORIG])))
    port = struct.unpack(">H", ports[2])[0] if 2 in ports else 0
    return Flow(
        protocol=ports[1][0] if 1 in ports else 0,
        established=_is_established(top),
        original=bytes(top[_TUPLE_ORIG]),
        identity=bytes(top.get(_ID, b"")),
        answers=answers,
        port=port,
        source=source,
        meant=meant,
    )


def _ends(tuple_: dict[int, memoryview]) -> tuple[str, str]:
    """Source and destination of a tuple."""
    found = dict(netlink.attributes(tuple_[1]))
    return _address(found.get(1) or found.get(3)), _address(found.get(2) or found.get(4))


def _address(raw: memoryview | None) -> str:
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw) if raw else ""


def _is_established(top: dict[int, memoryview]) -> bool:
    tcp = dict(netlink.attributes(top.get(_PROTOINFO, memoryview(b"")))).get(1)
    if tcp is None:
        return False
    state = dict(netlink.attributes(tcp)).get(1)
    return state is not None and state[0] == _TCP_ESTABLISHED
