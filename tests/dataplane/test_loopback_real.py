"""Services without any privilege: the real engine at their own loopback addresses, from manifests to answers."""

import asyncio
import contextlib
import socket
import struct
import time

import pytest

from fairlead.base import clock
from fairlead.dataplane import coordinator, engine, spawn
from fairlead.routing import settings, translate
from fairlead.testing import worlds

try:
    BINARY = spawn.find_binary()
except spawn.EngineMissing:
    BINARY = ""
pytestmark = [pytest.mark.system, pytest.mark.skipif(not BINARY, reason="no fairlead-engine was built")]


def own_address():
    """An address of 127/8 that other tests beside us do not use."""
    number = int.from_bytes(struct.pack(">d", time.time())[-3:], "big")
    return f"127.97.{number >> 8 & 255}.{number % 250 + 1}"


class Cluster:
    """One Service `web` in loopback mode."""

    def __init__(self, plane, failures):
        self.plane = plane
        self.planes = coordinator.Coordinator(
            [plane], clock=clock.SystemClock(), on_failure=lambda *failure: failures.append(failure)
        )
        self.address = own_address()
        self.where = settings.Settings(node="here", edge_http=())

    async def carry(self, *servers, protocol="TCP", node="here", **spec):
        port = {"name": "main", "port": 80, "protocol": protocol}
        service = {
            "metadata": {"namespace": "default", "name": "web", "annotations": spec.pop("annotations", {})},
            "spec": {"clusterIP": self.address, "ports": [port], **spec},
        }
        slices = [
            {
                "metadata": {"namespace": "default", "name": f"w{at}", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4",
                "ports": [{"name": "main", "port": one.getsockname()[1], "protocol": protocol}],
                "endpoints": [{"addresses": ["127.0.0.1"], "nodeName": node}],
            }
            for at, one in enumerate(servers)
        ]
        translation = translate.translate(translate.Snapshot(services=[service]), self.where)
        await self.planes.apply_endpoints(translate.all_endpoints(translation, slices))
        async with asyncio.timeout(10):
            return await self.planes.acked(await self.planes.apply(translation.structure))

    async def ask(self, count, **options):
        """Which servers (ports) answered at the Service's address."""
        found = [await asyncio.to_thread(worlds.ask_once, self.address, 8080, **options) for _ in range(count)]
        return [answer[1] if isinstance(answer, tuple) else answer for answer in found]


@pytest.fixture
async def cluster(folder, failures):
    plane = engine.EnginePlane(
        str(folder / "engine.sock"),
        clock=clock.SystemClock(),
        on_failure=lambda *failure: failures.append(failure),
        binary=BINARY,
        log_path=str(folder / "engine.log"),
    )
    await plane.start()
    yield Cluster(plane, failures)
    async with asyncio.timeout(10):
        await plane.shutdown(grace_seconds=0)
    await plane.close()


@pytest.fixture
def servers():
    made = [worlds.server("127.0.0.1", 0, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for _ in range(3)]
    yield made[:3], made[3:]
    for one in made:
        with contextlib.suppress(OSError):  # a datagram socket without a peer is shut down all the same
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def ports(servers):
    return [str(one.getsockname()[1]) for one in servers]


async def test_connections_take_turns_at_port_80_carried_at_8080(cluster, servers):
    assert await cluster.carry(*servers[0]) == ()
    assert sorted(await cluster.ask(6)) == sorted(ports(servers[0]) * 2)


async def test_udp_takes_turns(cluster, servers):
    assert await cluster.carry(*servers[1], protocol="UDP") == ()
    assert sorted(await cluster.ask(6, protocol="udp")) == sorted(ports(servers[1]) * 2)


async def test_a_client_on_one_udp_socket_is_answered_after_its_server_left(cluster, servers):
    await cluster.carry(servers[1][0], protocol="UDP")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((cluster.address, 8080))

        def asked():
            client.send(b"?")
            return client.recv(100).decode().split()[1]

        assert await asyncio.to_thread(asked) == ports(servers[1])[0]
        await cluster.carry(servers[1][1], protocol="UDP")
        assert await asyncio.to_thread(asked) == ports(servers[1])[1]


async def test_affinity_keeps_a_client_at_its_server(cluster, servers):
    assert await cluster.carry(*servers[0], sessionAffinity="ClientIP") == ()
    assert len(set(await cluster.ask(6))) == 1


async def test_policy_local_without_a_local_server_answers_nobody(cluster, servers):
    await cluster.carry(*servers[0], internalTrafficPolicy="Local", node="there")
    assert not set(await cluster.ask(2, seconds=0.5)) & set(ports(servers[0]))
    await cluster.carry(*servers[0], internalTrafficPolicy="Local")
    assert sorted(await cluster.ask(3)) == sorted(ports(servers[0]))


async def test_without_servers_a_connection_fails_in_ten_milliseconds(cluster):
    await cluster.carry()
    began = time.monotonic()
    with pytest.raises(OSError), socket.create_connection((cluster.address, 8080), timeout=2) as client:
        if not client.recv(10):
            raise ConnectionResetError("closed at once")
    assert time.monotonic() - began < 0.05


async def test_an_algorithm_of_the_engines_is_taken(cluster, servers):
    nacks = await cluster.carry(*servers[0], annotations={"fairlead.dev/algorithm": "least-request"})
    assert nacks == ()
    assert sorted(await cluster.ask(3)) == sorted(ports(servers[0]))
