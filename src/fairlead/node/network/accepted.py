"""The TCP connections that a pod has accepted and holds established: its own sockets are asked, not the host's table.

The kernel's table of tracked connections is one for the machine. A look for one address goes through all of its
buckets (262,144 where there are 16 GB) within one system call during which that processor does nothing else: 4 to 17 ms
for which requests wait. The sockets of one network namespace are told within 0.3 ms for each address family. Whoever
waits for connections to end asks for all of them once, then for each of the few that are left.

Of a connection, a socket does not say who opened it. Accepted are those to one of the pod's own addresses, from
another one, at a port at which it listens or that is too low to have been chosen for a connection of its own. After
sock_diag(7), linux/inet_diag.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from fairlead.base import netns
from fairlead.node.network import netlink

_PROTOCOL, _BY_FAMILY, _REQUEST, _DUMP = 4, 20, 0x1, 0x300
_ERROR, _DONE = 2, 3
_ESTABLISHED, _LISTEN = 1, 10
_HEAD = struct.Struct("=IHHII")
_WANTED = struct.Struct("=BBBBI48s")
_PORTS = struct.Struct(">HH")
_CHOSEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FEW = 256  # as many are asked for one by one
_GONE = (errno.ENOENT, errno.ESTALE)


def connections(
    pid: int, addresses: Collection[str], *, namespace: int, before: Sequence[bytes] = ()
) -> Sequence[bytes]:
    """Those of that process' network namespace, which has to be the one of that cookie. With what was told `before`,
    those of them that are left; all there are, once none of them is. Raises OSError."""
    with netlink.visiting(f"/proc/{pid}/ns/net"):
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _PROTOCOL)
        with link:
            if netns.cookie(link) != namespace:
                raise ProcessLookupError(f"process {pid} is another one now")
            still = [one for one in before if _is_established(link, one)] if len(before) <= _FEW else []
            return still or _accepted(link, addresses)


def _accepted(link: socket.socket, addresses: Collection[str]) -> list[bytes]:
    lowest = int(_CHOSEN.read_text().split()[0])
    found = [one for family in (socket.AF_INET, socket.AF_INET6) for one in _sockets(link, family)]
    own = {packed for one in addresses for packed in _forms(one)}
    listening = {_port(one) for one in found if one[1] == _LISTEN}
    return [
        one
        for one in found
        if one[1] == _ESTABLISHED
        and one[8:24] in own
        and one[24:40] not in own
        and ((port := _port(one)) in listening or port < lowest)
    ]


def _port(told: bytes) -> int:
    port: int = _PORTS.unpack_from(told, 4)[0]
    return port


def _forms(address: str) -> tuple[bytes, ...]:
    """How sockets of either family say it, in sixteen bytes."""
    if ":" in address:
        return (socket.inet_pton(socket.AF_INET6, address),)
    packed = socket.inet_pton(socket.AF_INET, address)
    return packed + bytes(12), bytes(10) + b"\xff\xff" + packed


def _is_established(link: socket.socket, told: bytes) -> bool:
    """Whether that very socket is there and is so."""
    try:
        return any(one[1] == _ESTABLISHED for one in _ask(link, told[0], 0, told[4:52]))
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise


def _sockets(link: socket.socket, family: int) -> Iterator[bytes]:
    """Each that listens or is established, as the kernel tells of it: state, ports and addresses are in it."""
    return _ask(link, family, _DUMP, bytes(48))


def _ask(link: socket.socket, family: int, flags: int, identity: bytes) -> Iterator[bytes]:
    states = 1 << _ESTABLISHED | 1 << _LISTEN
    wanted = _WANTED.pack(family, socket.IPPROTO_TCP, 0, 0, states, identity)
    link.send(_HEAD.pack(_HEAD.size + len(wanted), _BY_FAMILY, _REQUEST | flags, 0, 0) + wanted)
    while True:
        data = link.recv(65536)
        at = 0
        while at < len(data):
            length, kind, _, _, _ = _HEAD.unpack_from(data, at)
            body = data[at + _HEAD.size : at + length]
            at += (length + 3) & ~3
            if kind == _DONE:
                return
            if kind == _ERROR:
                problem = -struct.unpack_from("=i", body)[0]
                raise OSError(problem, os.strerror(problem))
            yield body
        if not flags:
            return
