"""Opens the sockets that Listeners name (`tcp:127.0.0.1:8080`, `udp:[::1]:53`).

Bound and listening when returned, for the engine to accept on. A port that is taken is an error that names its holder,
read from /proc.
"""

from __future__ import annotations

import errno
import os
import pathlib
import socket
from dataclasses import dataclass

BACKLOG = 4096


class SocketRefused(OSError):
    """The socket cannot be opened; the message says why and, for a taken port, who holds it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A socket id, taken apart."""

    transport: str
    address: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    @property
    def family_name(self) -> str:
        return "ipv6" if ":" in self.address else "ipv4"


def parse(socket_id: str) -> Place:
    """Raises SocketRefused for what is no socket id."""
    transport, _, rest = socket_id.partition(":")
    host, _, port = rest.rpartition(":")
    if transport not in ("tcp", "udp") or not host or not port.isdigit() or int(port) > 65535:
        raise SocketRefused(f"{socket_id!r} is no socket: write tcp:ADDRESS:PORT or udp:[ADDRESS]:PORT")
    return Place(transport, host.removeprefix("[").removesuffix("]"), int(port))


def open_socket(socket_id: str) -> socket.socket:
    """A bound, listening (TCP), non-blocking socket. Raises SocketRefused."""
    place = parse(socket_id)
    kind = socket.SOCK_STREAM if place.transport == "tcp" else socket.SOCK_DGRAM
    try:
        opened = socket.socket(place.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise SocketRefused(f"{socket_id}: {error.strerror}") from None
    try:
        if place.transport == "tcp":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if place.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((place.address, place.port))
        if place.transport == "tcp":
            opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise SocketRefused(_why(socket_id, place, error)) from None
    return opened


def _why(socket_id: str, place: Place, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(place)
        return f"{socket_id} is taken{f' by {holder}' if holder else ''}"
    if error.errno == errno.EACCES:
        return f"{socket_id}: ports below 1024 need privileges (CAP_NET_BIND_SERVICE)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{socket_id}: this machine has no address {place.address}"
    return f"{socket_id}: {error.strerror}"


def holder_of(place: Place) -> str:
    """The process that has the port, as `name (pid N)`; "" when it cannot be seen."""
    inodes = _inodes(place)
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, wanted):
            return f"{_name(process)} (pid {process.name})"
    return "another user's process or namespace"


def _inodes(place: Place) -> set[str]:
    found = set()
    for suffix in ("", "6"):
        try:
            lines = pathlib.Path(f"/proc/net/{place.transport}{suffix}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            listens = place.transport == "udp" or fields[3] == "0A"
            if listens and int(fields[1].rpartition(":")[2], 16) == place.port and _covers(fields[1], place):
                found.add(fields[9])
    return found


def _covers(local: str, place: Place) -> bool:
    """Whether the kernel's hexadecimal address is in the way of that one: the same, or one of them is all addresses."""
    address = local.partition(":")[0]
    if set(address) == {"0"} or place.address in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return True
    words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
    return b"".join(words) == socket.inet_pton(place.family, place.address)


def _holds(process: pathlib.Path, wanted: set[str]) -> bool:
    try:
        with os.scandir(process / "fd") as entries:
            return any(_target(entry.path) in wanted for entry in entries)
    except OSError:
        return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115  (a pathlib object per descriptor of the machine costs)
    except OSError:
        return ""


def _name(process: pathlib.Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
