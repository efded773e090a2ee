"""A node with pods and an outside client, each in a network namespace of its own, wired as the node agent wires them.

Real packets: servers answer `ADDRESS PORT CLIENT` (who they are, whom they saw), clients are sockets opened inside of a
namespace by a thread that enters it. Needs root; everything is removed at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
PODS4, SERVICES4 = "10.244.0.0/16", "10.96.0.0/16"
PODS6, SERVICES6 = "fd00:244::/64", "fd00:96::/112"
NODE, OUTSIDE = "192.0.2.1", "192.0.2.10"
NODE6, OUTSIDE6 = "2001:db8::1", "2001:db8::10"
GATEWAY, GATEWAY6 = "10.244.0.1", "fd00:244::1"
PORT = 8080


def enter(path: str) -> None:
    """Moves this thread into the network namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


def run(*commands: str) -> None:
    """Runs commands. Raises CalledProcessError."""
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True, text=True)


class Space:
    """One network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        run(f"ip netns add {name}", f"ip -n {name} link set lo up")

    def ip(self, *commands: str) -> None:
        run(*(f"ip -n {self.name} {command}" for command in commands))

    def exec(self, command: str) -> str:
        """What the command prints inside."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command.split()], check=True, capture_output=True, text=True
        ).stdout

    def call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Runs `work` in a thread inside and returns what it returns."""
        result: list[tuple[Any, BaseException | None]] = []

        def inside() -> None:
            try:
                enter(f"/run/netns/{self.name}")
                result.append((work(*arguments), None))
            except BaseException as error:
                result.append((None, error))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        value, error = result[0]
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]


class Pod(Space):
    """Answers TCP and UDP at its addresses."""

    def __init__(self, name: str, number: int, node: Space) -> None:
        super().__init__(name)
        self.address, self.address6 = f"10.244.0.{number}", f"fd00:244::{number}"
        self.sockets: list[socket.socket] = []
        veth = f"v{number}"
        run(f"ip link add {veth} netns {node.name} type veth peer name eth0 netns {name}")
        node.ip(
            f"link set {veth} up",
            f"route add {self.address}/32 dev {veth}",
            f"-6 route add {self.address6}/128 dev {veth}",
        )
        self.ip(
            "link set eth0 up",
            f"addr add {self.address}/32 dev eth0",
            f"addr add {self.address6}/128 dev eth0 nodad",
        )
        node_mac = node.exec(f"cat /sys/class/net/{veth}/address").strip()
        mac = self.exec("cat /sys/class/net/eth0/address").strip()
        self.ip(
            f"neigh add 169.254.1.1 lladdr {node_mac} dev eth0 nud permanent",
            f"neigh add fe80::1 lladdr {node_mac} dev eth0 nud permanent",
            "route add 169.254.1.1 dev eth0 scope link",
            f"route add default via 169.254.1.1 dev eth0 src {self.address}",
            f"-6 route add default via fe80::1 dev eth0 src {self.address6}",
        )
        node.ip(
            f"neigh add {self.address} lladdr {mac} dev {veth} nud permanent",
            f"neigh add {self.address6} lladdr {mac} dev {veth} nud permanent",
        )
        for address in (self.address, self.address6):
            self.serve(address, PORT)

    def serve(self, address: str, port: int, *, http: bool = False) -> None:
        """Answers at one more address; with `http` each request instead of each connection and datagram."""
        for kind in (socket.SOCK_STREAM,) if http else (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            self.sockets.append(self.call(server, address, port, kind, http))


def server(address: str, port: int, kind: int, http: bool = False) -> socket.socket:
    """A server in this thread's namespace. Shut it down and close it."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen(64)
    threading.Thread(target=_answer, args=(made, address, kind, _talk_http if http else _talk), daemon=True).start()
    return made


def _answer(listening: socket.socket, address: str, kind: int, talk: Callable[[socket.socket, str], None]) -> None:
    with contextlib.suppress(OSError):
        while True:
            if kind == socket.SOCK_DGRAM:
                _, client = listening.recvfrom(100)
                if not client:  # shut down
                    return
                listening.sendto(f"{address} {listening.getsockname()[1]} {client[0]}".encode(), client)
                continue
            connection, client = listening.accept()
            threading.Thread(
                target=talk, args=(connection, f"{address} {listening.getsockname()[1]} {client[0]}"), daemon=True
            ).start()


def _talk(connection: socket.socket, answer: str) -> None:
    """Answers each line, until the client goes."""
    with connection, contextlib.suppress(OSError):
        connection.sendall(answer.encode())
        while connection.recv(100):
            connection.sendall(answer.encode())


def _talk_http(connection: socket.socket, answer: str) -> None:
    """Answers each request, until the client goes."""
    with connection, contextlib.suppress(OSError):
        while connection.recv(65536):
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode())


_Space = TypeVar("_Space", bound=Space)
Answer = tuple[str, ...] | str


class World:
    """The node (in which the test's own thread works), its pods, and a client outside."""

    def __init__(self, pods: int = 3) -> None:
        self.prefix = f"fl{os.getpid()}-{threading.get_native_id()}"
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.spaces: list[Space] = []
        self.node = self._add(Space(f"{self.prefix}n"))
        for setting in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            self.node.exec(f"sysctl -qw net.{setting}=1")
        self.node.exec("sysctl -qw net.ipv6.conf.all.accept_dad=0")
        self.outside = self._add(Space(f"{self.prefix}o"))
        run(f"ip link add up0 netns {self.node.name} type veth peer name eth0 netns {self.outside.name}")
        self.node.ip(
            "link set up0 up", f"addr add {NODE}/24 dev up0", f"addr add {NODE6}/64 dev up0 nodad",
            f"addr add {GATEWAY}/32 dev lo", f"addr add {GATEWAY6}/128 dev lo",
            f"route add {SERVICES4} dev lo", f"-6 route add {SERVICES6} dev lo",
        )  # fmt: skip
        self.outside.ip(
            "link set eth0 up", f"addr add {OUTSIDE}/24 dev eth0", f"addr add {OUTSIDE6}/64 dev eth0 nodad",
            f"route add default via {NODE}", f"-6 route add default via {NODE6}",
        )  # fmt: skip
        self.node.ip(f"route add default via {OUTSIDE}", f"-6 route add default via {OUTSIDE6}")
        self.pods = [self._add(Pod(f"{self.prefix}p{n}", n, self.node)) for n in range(2, 2 + pods)]

    def _add(self, made: _Space) -> _Space:
        self.spaces.append(made)
        return made

    def __enter__(self) -> World:
        enter(f"/run/netns/{self.node.name}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _LIBC.setns(self._home, _CLONE_NEWNET)
        os.close(self._home)
        for pod in self.pods:
            for one in pod.sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        for space in self.spaces:
            run(f"ip netns del {space.name}")

    async def ask(
        self, space: Space, address: str, port: int, *, protocol: str = "tcp", seconds: float = 2.0, bind: str = ""
    ) -> Answer:
        """(server, its port, client as the server saw it), "REJECT", or "DROP". `protocol` is tcp, udp or http."""
        return await asyncio.to_thread(space.call, ask_once, address, port, protocol, seconds, bind)


def ask_once(address: str, port: int, protocol: str = "tcp", seconds: float = 2.0, bind: str = "") -> Answer:
    """What a client in this thread's namespace is answered. Protocols: tcp, http, udp on a connected socket, and
    `datagrams` on one that is not: an answer from another address than it asked is "STRANGER"."""
    kind = socket.SOCK_DGRAM if protocol in ("udp", "datagrams") else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as client:
        client.settimeout(seconds)
        try:
            if bind:
                client.bind((bind, 0))
            if protocol == "datagrams":
                client.sendto(b"?", (address, port))
                said, source = client.recvfrom(2000)
                return tuple(said.decode().split()) if source[:2] == (address, port) else "STRANGER"
            client.connect((address, port))
            if protocol != "tcp":
                client.send(b"?" if protocol == "udp" else b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            answer = client.recv(2000).decode().rpartition("\r\n\r\n")[2]
        except ConnectionRefusedError:
            return "REJECT"
        except TimeoutError:
            return "DROP"
        except OSError:  # no route, or unreachable
            return "UNREACHABLE"
    return tuple(answer.split())
