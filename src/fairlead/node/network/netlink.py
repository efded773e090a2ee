"""Route netlink, as much of it as pods need: links, addresses, routes, neighbours (RFC 3549, linux/rtnetlink.h).

Written by hand because importing a netlink library costs 0.2 s of a start that may take one. All of `transact` is one
system call each way: a pod's whole side is sent at once. Blocking; callers on a loop use a thread. Raises OSError with
the kernel's errno.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from fairlead.base import log, netns

_log = log.get(__name__)
_REQUEST, _ACK, _DUMP, _EXCLUSIVE, _CREATE, _REPLACE = 0x1, 0x4, 0x300, 0x200, 0x400, 0x100
_NEW_LINK, _DEL_LINK, _GET_LINK = 16, 17, 18
_NEW_ADDRESS, _DEL_ADDRESS = 20, 21
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_NEIGHBOUR = 28
_DONE, _ERROR = 3, 2
_NETWORK_NAMESPACE = 0x40000000

ANYWHERE, ANYWHERE6 = "0.0.0.0", "::"  # noqa: S104 - destinations
LOOPBACK = 1  # the index of lo in every network namespace
PROTOCOL = 0xFA  # marks the routes that are ours
_UNREACHABLE, _UNICAST, _LOCAL_SCOPE_LINK = 7, 1, 253


_attribute_head = struct.Struct("=HH").pack
_number_attribute = struct.Struct("=HHI").pack
_link_head = struct.Struct("=BxHiII").pack
_message_head = struct.Struct("=IHHII").pack
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # by the length modulo 4


class Message(NamedTuple):
    """One request: its type, extra flags and body."""

    kind: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace: of a process, or one that whoever sends the message has open as that descriptor."""

    kind: Literal["pid", "descriptor"]
    number: int


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the main table, as a dump tells it."""

    destination: str
    prefix: int
    kind: int
    protocol: int
    device: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """One link, as a dump tells it."""

    index: int
    name: str
    alias: str = ""
    address: str = ""
    mtu: int = 0
    extra: dict[str, str] = field(default_factory=dict)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _packed(address: str) -> bytes:
    return socket.inet_pton(_family(address), address)


def _whole(address: str) -> int:
    """The prefix of one address alone."""
    return 128 if ":" in address else 32


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return _attribute_head(length, kind) + value + _PADDING[length & 3]


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _number_attribute(8, kind, value)


def _mac(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def _link(index: int, flags: int, change: int, attributes: bytes = b"") -> bytes:
    return _link_head(0, 0, index, flags, change) + attributes


def new_veth(
    name: str,
    *,
    mac: str,
    peer: str,
    peer_mac: str,
    peer_in: Namespace,
    mtu: int,
    index: int = 0,
    peer_index: int = 0,
    up: bool = False,
) -> Message:
    """A veth pair: our end here, which may be up at once, the peer in that namespace. The kernel chooses indices of 0.

    Each end is born with the one queue that it has in the end: not told so, the kernel makes one for each processor,
    takes all but one away again, with their files in /sys, and waits for an RCU grace period under its lock of all
    links."""
    queues = _number(31, 1) + _number(32, 1)  # IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES
    other = _link(
        peer_index,
        0,
        0,
        _text(3, peer) + _attribute(1, _mac(peer_mac)) + _number(4, mtu) + queues + _namespace(peer_in),
    )
    kind = _text(1, "veth") + _attribute(2, _attribute(1, other))
    attributes = _text(3, name) + _attribute(1, _mac(mac)) + _number(4, mtu) + queues + _attribute(18, kind)
    return Message(_NEW_LINK, _CREATE | _EXCLUSIVE, _link(index, int(up), int(up), attributes))


def _namespace(which: Namespace) -> bytes:
    return _number(19 if which.kind == "pid" else 28, which.number)


def set_alias(name: str, alias: str, *, up: bool = False) -> Message:
    """Says whose link it is (`ip link` shows it)."""
    return Message(_NEW_LINK, 0, _link(0, int(up), int(up), _text(3, name) + _text(20, alias)))


def without_ipv6(name: str) -> Message:
    """No link-local address is made when it comes up (EAFNOSUPPORT where there is no IPv6 at all)."""
    mode = _attribute(0x8000 | 26, _attribute(0x8000 | 10, _attribute(8, b"\1")))  # AF_SPEC, INET6, ADDR_GEN_MODE: none
    return Message(_NEW_LINK, 0, _link(0, 0, 0, _text(3, name) + mode))


def set_up(index: int) -> Message:
    return Message(_NEW_LINK, 0, _link(index, 1, 1))


def look_at(index: int) -> Message:
    """Asks for that link, which makes the kernel (6.8) carry out at once what a link that came up still waits for."""
    return Message(_GET_LINK, 0, _link(index, 0, 0))


def delete_link(name: str) -> Message:
    return Message(_DEL_LINK, 0, _link(0, 0, 0, _text(3, name)))


def _address_body(index: int, address: str, scope: int) -> bytes:
    packed = _packed(address)
    flags = 0x82 if ":" in address else 0x80  # permanent, and without duplicate address detection
    head = struct.pack("=BBBBI", _family(address), _whole(address), flags, scope, index)
    return head + _attribute(2, packed) + _attribute(1, packed)


def add_address(index: int, address: str, *, scope: int = 0) -> Message:
    return Message(_NEW_ADDRESS, _CREATE | _REPLACE, _address_body(index, address, scope))


def delete_address(index: int, address: str, *, scope: int = 0) -> Message:
    return Message(_DEL_ADDRESS, 0, _address_body(index, address, scope))


def add_route(
    destination: str, prefix: int, *, device: int, gateway: str = "", source: str = "", onlink: bool = False
) -> Message:
    """A unicast route through that device; `source` is the address that our own packets carry."""
    family = _family(destination)
    scope = 0 if gateway or family == socket.AF_INET6 else _LOCAL_SCOPE_LINK
    head = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, 254, PROTOCOL, scope, _UNICAST, 4 if onlink else 0)
    attributes = _attribute(1, _packed(destination)) if prefix else b""
    attributes += _number(4, device)
    if gateway:
        attributes += _attribute(5, _packed(gateway))
    if source:
        attributes += _attribute(7, _packed(source))
    return Message(_NEW_ROUTE, _CREATE | _REPLACE, head + attributes)


def delete_route(destination: str, prefix: int) -> Message:
    """Takes away our own unicast route to that range; another tool's stays."""
    head = struct.pack("=BBBBBBBBI", _family(destination), prefix, 0, 0, 254, PROTOCOL, 255, _UNICAST, 0)  # 255: any
    return Message(_DEL_ROUTE, 0, head + _attribute(1, _packed(destination)))


def _unreachable_body(destination: str, prefix: int) -> bytes:
    head = struct.pack("=BBBBBBBBI", _family(destination), prefix, 0, 0, 254, PROTOCOL, 0, _UNREACHABLE, 0)
    return head + _attribute(1, _packed(destination)) + _number(6, 4096)


def add_unreachable(destination: str, prefix: int) -> Message:
    """Takes that range: what has no route of its own in it is unreachable. EEXIST when it is taken."""
    return Message(_NEW_ROUTE, _CREATE | _EXCLUSIVE, _unreachable_body(destination, prefix))


def delete_unreachable(destination: str, prefix: int) -> Message:
    return Message(_DEL_ROUTE, 0, _unreachable_body(destination, prefix))


def add_neighbour(device: int, address: str, mac: str) -> Message:
    """A permanent neighbour: nobody ever asks for it."""
    head = struct.pack("=BxHiHBB", _family(address), 0, device, 0x80, 0, 0)
    return Message(
        _NEW_NEIGHBOUR, _CREATE | _REPLACE, head + _attribute(1, _packed(address)) + _attribute(2, _mac(mac))
    )


def frames(messages: Sequence[Message], *, first: int = 1) -> bytes:
    """The messages as they are sent, numbered from `first`, each to be acknowledged."""
    return b"".join(_frame(one, _REQUEST | _ACK, first + at) for at, one in enumerate(messages))


def batch(messages: Sequence[Message]) -> bytes:
    """The messages as they are sent when one answer is enough: only the last is to be acknowledged, and the kernel
    tells what it refuses before."""
    return b"".join(_frame(one, _REQUEST, at) for at, one in enumerate(messages[:-1], start=1)) + frames(
        messages[-1:], first=len(messages)
    )


def _frame(message: Message, flags: int, sequence: int) -> bytes:
    length = 16 + len(message.body)
    head = _message_head(length, message.kind, flags | message.flags, sequence, 0)
    return head + message.body + _PADDING[length & 3]


class Netlink:
    """One route netlink socket, of the network namespace in which it was opened."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._socket.settimeout(5)
        self._sequence = 0

    @classmethod
    def here(cls) -> Netlink:
        return cls(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transact(self, messages: Sequence[Message], *, ignore: Sequence[int] = ()) -> None:
        """Sends all, in order; raises the first error whose errno is not ignored after all were tried."""
        first = self._sequence + 1
        self._socket.send(frames(messages, first=first))
        self._sequence += len(messages)
        failed: OSError | None = None
        waiting = set(range(first, self._sequence + 1))
        while waiting:
            for kind, sequence, body in _messages(self._socket.recv(1 << 16)):
                if kind != _ERROR or sequence not in waiting:
                    continue
                waiting.discard(sequence)
                (code,) = struct.unpack_from("=i", body)
                if code and -code not in ignore and failed is None:
                    failed = OSError(
                        -code, f"{os.strerror(-code)} (netlink message {sequence - first + 1} of {len(messages)})"
                    )
        if failed is not None:
            raise failed

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        wanted = self._sequence
        self._socket.send(_frame(Message(kind, 0, body), _REQUEST | _DUMP, wanted))
        while True:
            for found, sequence, content in _messages(self._socket.recv(1 << 18)):
                if sequence != wanted:
                    continue
                if found == _DONE:
                    return
                if found == _ERROR:
                    (code,) = struct.unpack_from("=i", content)
                    raise OSError(-code, os.strerror(-code))
                yield content

    def namespace(self) -> int:
        """The number of the network namespace that it speaks to; 0 where the kernel tells none."""
        try:
            return netns.cookie(self._socket)
        except OSError:
            return 0

    def links(self) -> list[Link]:
        """All links."""
        found = []
        for content in self._dump(_GET_LINK, _link(0, 0, 0)):
            (index,) = struct.unpack_from("=i", content, 4)
            attributes = dict(_attributes(content[16:]))
            found.append(
                Link(
                    index,
                    _string(attributes.get(3, b"")),
                    _string(attributes.get(20, b"")),
                    attributes.get(1, b"").hex(":"),
                    struct.unpack("=I", attributes[4])[0] if 4 in attributes else 0,
                )
            )
        return found

    def index(self, name: str) -> int:
        """The index of that link. Raises OSError (ENODEV)."""
        for link in self.links():
            if link.name == name:
                return link.index
        raise OSError(errno.ENODEV, f"no link {name}")

    def routes(self, version: int = 4) -> list[Route]:
        """All routes of that IP version in the main table."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        found = []
        for content in self._dump(_GET_ROUTE, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, prefix, _, _, table, protocol, _, kind, _ = struct.unpack_from("=BBBBBBBBI", content)
            attributes = dict(_attributes(content[12:]))
            if table != 254:
                continue
            anywhere = ANYWHERE if version == 4 else ANYWHERE6
            destination = socket.inet_ntop(family, attributes[1]) if 1 in attributes else anywhere
            device = struct.unpack("=I", attributes[4])[0] if 4 in attributes else 0
            found.append(Route(destination, prefix, kind, protocol, device))
        return found


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, at)
        yield kind, sequence, data[at + 16 : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


_libc = ctypes.CDLL(None, use_errno=True)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _NETWORK_NAMESPACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def inside(pid: int) -> Netlink:
    """A netlink socket in the network namespace of that process. Only the calling thread visits it, and comes back."""
    with visiting(f"/proc/{pid}/ns/net"):
        return Netlink.here()


@contextlib.contextmanager
def visiting(namespace: str) -> Iterator[None]:
    """The calling thread is in that network namespace (a path) for a moment. Raises OSError. A thread that could not
    come back would open everybody's sockets in a pod: the process ends instead, and its next life adopts the pods."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _come_back(home)
    finally:
        os.close(home)


def _come_back(home: int) -> None:
    try:
        _enter(home)
    except OSError as error:
        _log.error("lost in a network namespace", problem=str(error))
        os.abort()
