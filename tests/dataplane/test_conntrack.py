"""What the kernel says of connections to one address, of either family, with real ones in a namespace of their own."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator

import pytest

from fairlead.dataplane import conntrack, netlink
from fairlead.testing import worlds

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces of one's own need root")
TRACKING = "table inet t { chain c { type filter hook output priority 0; ct state established accept; }; }"


@pytest.mark.parametrize(("address", "other"), [("10.9.9.1", "10.9.9.2"), ("fd00:9::1", "fd00:9::2")])
def test_connections_to_an_address_are_counted_and_those_to_others_are_not(address: str, other: str) -> None:
    space = worlds.Space(f"ct-{secrets.token_hex(3)}")
    try:
        prefix = 128 if ":" in address else 32
        nodad = " nodad" if ":" in address else ""
        space.ip(*(f"addr add {one}/{prefix} dev lo{nodad}" for one in (address, other)))
        assert space.call(counted, address, other) == (2, 1, 0, 1)
    finally:
        worlds.run(f"ip netns del {space.name}")


def counted(address: str, other: str) -> tuple[int, int, int, int]:
    """Established connections to both, and the datagrams to the first that were forgotten (none, then all)."""
    subprocess.run(["nft", TRACKING], check=True)
    open_ones = [exchange(one) for one in (address, address, other)]
    link = netlink.Netlink()
    try:
        counts = [len(conntrack.established(link, one)) for one in (address, other)]
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as server:
            server.bind((address, 9))
            with socket.socket(family_of(address), socket.SOCK_DGRAM) as client:
                client.sendto(b"?", (address, 9))
                server.sendto(b"!", server.recvfrom(9)[1])
                client.recv(9)
            nobodys = conntrack.forget(link, other, protocol=socket.IPPROTO_UDP)
            return (*counts, nobodys, conntrack.forget(link, address, protocol=socket.IPPROTO_UDP, port=9))
    finally:
        link.close()
        for pair in open_ones:
            for one in pair:
                one.close()


@pytest.mark.parametrize("address", ["10.9.9.1", "fd00:9::1"])
def test_who_waits_for_connections_asks_for_the_whole_table_at_the_beginning_and_the_end(address: str) -> None:
    in_a_space(address, waited, address)


def waited(address: str) -> None:
    subprocess.run(["nft", TRACKING], check=True)
    first, second = exchange(address), exchange(address)
    link = Counting()
    try:
        flows = conntrack.established(link, address)
        assert (len(flows), link.dumps) == (2, 1)
        reset(first)
        flows = conntrack.left_of(link, address, flows)
        assert (len(flows), link.dumps) == (1, 1)
        third = exchange(address)  # which nobody expected
        reset(second)
        flows = conntrack.left_of(link, address, flows)
        assert (len(flows), link.dumps) == (1, 2)
        reset(third)
        assert (conntrack.left_of(link, address, flows), link.dumps) == ([], 3)
    finally:
        link.close()


@pytest.mark.parametrize("address", ["10.9.9.1", "fd00:9::1"])
def test_the_kernel_tells_of_no_other_ports_datagrams_and_they_stay(address: str) -> None:
    in_a_space(address, deleted, address)


def deleted(address: str) -> None:
    subprocess.run(["nft", TRACKING], check=True)
    for port in (9, *range(1000, 1040)):
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as server:
            server.bind((address, port))
            with socket.socket(family_of(address), socket.SOCK_DGRAM) as client:
                client.sendto(b"?", (address, port))
    link = Counting()
    try:
        assert conntrack.forget(link, address, protocol=socket.IPPROTO_UDP, port=9) == 1
        assert link.told == 1
        assert len(list(conntrack.flows_to(link, address, protocol=socket.IPPROTO_UDP))) == 40
    finally:
        link.close()


class Counting(netlink.Netlink):
    """Counts dumps and what they told."""

    dumps = told = 0

    def dump(self, kind: int, body: bytes, *, family: int) -> Iterator[bytes]:
        self.dumps += 1
        for one in super().dump(kind, body, family=family):
            self.told += 1
            yield one


def in_a_space(address: str, work: Callable[..., object], *arguments: object) -> None:
    space = worlds.Space(f"ct-{secrets.token_hex(3)}")
    try:
        space.ip(f"addr add {address}/{128 if ':' in address else 32} dev lo{' nodad' if ':' in address else ''}")
        space.call(work, *arguments)
    finally:
        worlds.run(f"ip netns del {space.name}")


def reset(connection: list[socket.socket]) -> None:
    """Ends it at once: no state of it stays established."""
    client, *others = connection
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for one in (client, *others):
        one.close()


def exchange(address: str) -> list[socket.socket]:
    """A connection on which both have spoken: client, server and listener."""
    listener, client = (socket.socket(family_of(address)) for _ in range(2))
    listener.bind((address, 0))
    listener.listen()
    client.connect((address, listener.getsockname()[1]))
    server, _ = listener.accept()
    client.sendall(b"?")
    server.sendall(server.recv(1))
    client.recv(1)
    return [client, server, listener]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
