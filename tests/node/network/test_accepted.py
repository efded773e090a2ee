"""What a pod's sockets say of the connections that it has accepted, with real ones in a network of the test's own."""

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys

import pytest

from fairlead.node.network import accepted, ipv6, kernel

pytestmark = pytest.mark.usefixtures("own_network")
SERVER = """
import socket, sys
family, address, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
listener = socket.create_server((address, port), family=family, dualstack_ipv6=family == socket.AF_INET6)
print("listens", flush=True)
kept = []
for line in sys.stdin:
    word, *rest = line.split()
    if word == "accept":
        kept.append(listener.accept()[0])
    elif word == "close":
        kept.pop().close()
    elif word == "deaf":
        listener.close()
    elif word == "connect":
        kept.append(socket.create_connection((rest[0], int(rest[1]))))
    print("done", flush=True)
"""


class Pod:
    """A process in a network namespace of its own that accepts and connects when told to."""

    def __init__(self, family: int, address: str, port: int) -> None:
        words = ["unshare", "-n", sys.executable, "-c", SERVER, str(int(family)), address, str(port)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listens\n"

    def tell(self, *words: object) -> None:
        print(*words, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.asynccontextmanager
async def a_pod(family: int, address: str, port: int = 8080):
    network = kernel.KernelNetwork("tests")
    await network.start()
    given = network.allocate("a")
    pod = Pod(family, address, port)
    try:
        await network.attach("a", pod.process.pid)
        yield network, given, pod
    finally:
        pod.end()
        await network.close()


async def connected(address: str, port: int = 8080) -> socket.socket:
    return await asyncio.to_thread(socket.create_connection, (address, port), 5.0)


@pytest.mark.parametrize(
    "family",
    [
        socket.AF_INET,
        pytest.param(
            socket.AF_INET6, marks=pytest.mark.skipif(not ipv6.available(), reason="this kernel has IPv6 switched off")
        ),
    ],
)
async def test_connections_to_a_pod_count_from_their_beginning_to_their_end(family):
    async with a_pod(family, "0.0.0.0" if family == socket.AF_INET else "::") as (network, given, pod):
        assert await network.accepted(given.ip) == []
        targets = [given.ip] if family == socket.AF_INET else [given.ip, given.second]
        clients = [await connected(one) for one in targets]
        assert len(await network.accepted(given.ip)) == len(clients)  # nobody has accepted them yet
        for _ in clients:
            pod.tell("accept")
        assert len(await network.accepted(given.ip)) == len(clients)
        clients.pop().close()
        for _ in targets:
            pod.tell("close")
        assert await network.accepted(given.ip) == []
        for one in clients:
            one.close()


@pytest.mark.parametrize("listens", ["0.0.0.0", "::"])
async def test_who_waits_is_told_of_what_is_left_and_of_new_ones_at_the_end(listens):
    family = socket.AF_INET6 if ":" in listens else socket.AF_INET
    async with a_pod(family, listens) as (network, given, _pod):
        first, second = [await connected(given.ip) for _ in range(2)]
        told = await network.accepted(given.ip)
        assert len(told) == 2
        third = await connected(given.ip)
        assert await network.accepted(given.ip, told) == told
        ended(first)
        told = await network.accepted(given.ip, told)
        assert len(told) == 1
        ended(second)
        told = await network.accepted(given.ip, told)
        assert len(told) == 1  # the third, which nobody had asked for
        ended(third)
        assert await network.accepted(given.ip, told) == []


def ended(connection: socket.socket) -> None:
    """Reset: no state of it stays."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def test_connections_of_the_pods_own_making_do_not_count():
    async with a_pod(socket.AF_INET, "0.0.0.0") as (network, given, pod):
        with socket.create_server((network.gateway, 0)) as outside:
            pod.tell("connect", network.gateway, outside.getsockname()[1])
            pod.tell("connect", "127.0.0.1", 8080)  # a container to another one of its pod
            pod.tell("connect", given.ip, 8080)
            assert await network.accepted(given.ip) == []


async def test_a_port_that_listens_no_more_still_has_its_connections():
    async with a_pod(socket.AF_INET, "0.0.0.0") as (network, given, pod):
        with await connected(given.ip):
            pod.tell("accept")
            pod.tell("deaf")
            assert len(await network.accepted(given.ip)) == 1


async def test_nobody_knows_of_strangers_and_of_pods_that_are_gone():
    async with a_pod(socket.AF_INET, "0.0.0.0") as (network, given, pod):
        assert await network.accepted("192.0.2.1") is None
        assert await network.accepted(network.gateway) is None
        pod.end()
        assert await network.accepted(given.ip) is None


async def test_another_process_with_the_same_number_is_not_asked():
    async with a_pod(socket.AF_INET, "0.0.0.0") as (_, given, pod):
        with pytest.raises(ProcessLookupError):
            accepted.connections(pod.process.pid, [given.ip], namespace=1)
