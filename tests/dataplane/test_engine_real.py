"""The engine plane with the real engine: started, adopted, restarted; a Service's HTTP, balanced by request."""

import asyncio
import collections
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from fairlead.base import clock
from fairlead.dataplane import coordinator, engine, nftables, spawn
from fairlead.routing import settings, table, translate
from fairlead.testing import ports as free_ports
from fairlead.testing import worlds

try:
    BINARY = spawn.find_binary()
except spawn.EngineMissing:
    BINARY = ""
pytestmark = [pytest.mark.system, pytest.mark.skipif(not BINARY, reason="no fairlead-engine was built")]
WEB = "default/web:80"


def made_plane(folder, failures, **options):
    return engine.EnginePlane(
        str(folder / "engine.sock"),
        clock=clock.SystemClock(),
        on_failure=lambda *failure: failures.append(failure),
        binary=BINARY,
        log_path=str(folder / "engine.log"),
        **options,
    )


@pytest.fixture
async def real(folder, failures):
    made = made_plane(folder, failures)
    await made.start()
    async with asyncio.timeout(10):
        await made.connected()
    yield made
    async with asyncio.timeout(10):
        await made.shutdown(grace_seconds=0)
    await made.close()


@pytest.fixture
def servers():
    made = [worlds.server("127.0.0.1", 0, socket.SOCK_STREAM) for _ in range(2)]
    yield made
    for one in made:
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def tcp(port):
    listener = table.Listener(
        id="service/default/web/80", protocol="tcp", sockets=(f"tcp:127.0.0.1:{port}",), backend=WEB
    )
    return table.Structure(listeners={listener.id: listener}, backends={WEB: table.Backend(id=WEB, protocol="tcp")})


def ports(*servers):
    made = tuple(table.Endpoint(address="127.0.0.1", port=one.getsockname()[1]) for one in servers)
    return [table.BackendEndpoints(backend=WEB, endpoints=made)]


async def carry(plane, structure, delta):
    await plane.apply_endpoints(delta)
    async with asyncio.timeout(10):
        return await plane.acked(await plane.apply(structure))


async def answers(port, count):
    found = [await asyncio.to_thread(worlds.ask_once, "127.0.0.1", port) for _ in range(count)]
    return {answer[1] if isinstance(answer, tuple) else answer for answer in found}


async def test_it_is_started_and_balances(real, servers):
    port = free_ports.free()
    assert (await carry(real, tcp(port), ports(*servers))).nacks == ()
    assert await answers(port, 4) == {str(one.getsockname()[1]) for one in servers}
    await real.acked(await real.apply_endpoints(ports(servers[0])))
    assert await answers(port, 4) == {str(servers[0].getsockname()[1])}


async def test_it_holds_nothing_of_whoever_started_it(folder, failures):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    made = made_plane(folder, failures)
    await made.start()
    await made.connected()
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1) == b""  # ends when nobody holds the other end
    os.close(reading)
    await made.shutdown(grace_seconds=0)
    await made.close()


async def test_a_service_that_goes_gives_its_port_back(real, servers):
    port = free_ports.free()
    await carry(real, tcp(port), ports(*servers))
    await carry(real, table.Structure(), [])
    assert await answers(port, 1) == {"REJECT"}
    assert (await carry(real, tcp(port), ports(*servers))).nacks == ()


@pytest.mark.parametrize("how", ["the client goes", "the worker dies"])
async def test_who_came_in_by_a_door_that_is_closed_is_seen_out(how, real, servers):
    port = free_ports.free()
    await carry(real, tcp(port), ports(*servers))
    client = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
    await asyncio.to_thread(client.recv, 100)
    await real.acked(await real.apply(table.Structure()))
    leaving = asyncio.create_task(real.seen_out(["service/default/web/80"]))
    done, _ = await asyncio.wait({leaving}, timeout=0.2)
    assert not done
    if how == "the worker dies":
        os.kill(real.pids[1], signal.SIGKILL)
    else:
        client.close()
    async with asyncio.timeout(5):
        assert await leaving == 0
    client.close()


async def test_the_next_fairlead_adopts_it_and_sends_nothing(folder, failures, real, servers):
    port = free_ports.free()
    await carry(real, tcp(port), ports(*servers))
    pids = real.pids
    await real.close()
    sent = []
    again = made_plane(folder, failures)
    await again.start()
    await again.connected()
    tell = again._link.send
    again._link.send = lambda message, descriptors=(): (sent.append(type(message).__name__), tell(message, descriptors))
    await carry(again, tcp(port), ports(*servers))
    assert again.pids == pids
    assert await answers(port, 2) == {str(one.getsockname()[1]) for one in servers}
    await again.shutdown(grace_seconds=0)
    await again.close()


async def test_a_killed_worker_and_a_killed_master_are_replaced(real, servers):
    port = free_ports.free()
    await carry(real, tcp(port), ports(*servers))
    master, worker = real.pids
    os.kill(worker, signal.SIGKILL)
    async with asyncio.timeout(5):
        while real.pids[1] == worker:
            await asyncio.sleep(0.01)
        while await answers(port, 1) != {str(servers[0].getsockname()[1])}:
            await asyncio.sleep(0.01)
    os.kill(master, signal.SIGKILL)
    async with asyncio.timeout(10):
        while real.pids[0] in (0, master):
            await asyncio.sleep(0.01)
        await real.connected()
    assert await answers(port, 4) == {str(one.getsockname()[1]) for one in servers}


async def test_a_full_disk_under_its_log_does_not_keep_a_master_from_replacing_its_worker(folder, failures):
    (folder / "engine.log").symlink_to("/dev/full")
    plane = made_plane(folder, failures)
    await plane.start()
    try:
        async with asyncio.timeout(10):
            await plane.connected()
            master, worker = plane.pids
            os.kill(worker, signal.SIGKILL)
            while plane.pids[1] in (0, worker):
                await asyncio.sleep(0.01)
        assert plane.pids[0] == master
    finally:
        await plane.shutdown(grace_seconds=0)
        await plane.close()


class Web:
    """HTTP/1.1 in a pod: answers with its address, keeps connections."""

    def __init__(self, pod):
        self.socket = pod.call(self.listen, pod.address)
        self.address = pod.address
        threading.Thread(target=self.accept, daemon=True).start()

    @staticmethod
    def listen(address):
        return socket.create_server((address, 80))

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection:
            while connection.recv(65536):
                body = self.address.encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def requests(address, count):
    """Bodies of `count` requests over one connection."""
    bodies = []
    with socket.create_connection((address, 80), timeout=3) as client:
        for _ in range(count):
            client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            head, _, body = client.recv(65536).partition(b"\r\n\r\n")
            assert b" 200 " in head.splitlines()[0], head
            bodies.append(body.decode())
    return bodies


@contextlib.asynccontextmanager
async def kernel_mode(folder, failures, protocol="", *, port=80, **annotations):
    """A world with a Service at 10.96.0.10:80 of that appProtocol, carried by the engine behind the kernel."""
    annotations = {f"fairlead.dev/{name}": text for name, text in annotations.items()}
    with worlds.World() as world:
        plane = made_plane(folder, failures)
        kernel = nftables.NftablesPlane(
            "fairlead-l7",
            clock=clock.SystemClock(),
            on_failure=lambda *failure: failures.append(failure),
            pods=(worlds.PODS4,),
            services=(worlds.SERVICES4,),
        )
        await kernel.start()
        await plane.start()
        both = coordinator.Coordinator(
            [plane, kernel], clock=clock.SystemClock(), on_failure=lambda *failure: failures.append(failure)
        )
        service = {
            "metadata": {"namespace": "default", "name": "web", "annotations": annotations},
            "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80, "appProtocol": protocol}]},
        }
        where = settings.Settings(
            network="kernel", lowest_port=0, gateway=worlds.GATEWAY, edge_http=("tcp:127.0.0.1:8080",)
        )
        slices = [
            {
                "metadata": {"namespace": "default", "name": "w", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4",
                "ports": [{"port": port}],
                "endpoints": [{"addresses": [pod.address]} for pod in world.pods],
            }
        ]
        translation = translate.translate(translate.Snapshot(services=[service]), where)
        await both.apply_endpoints(translate.all_endpoints(translation, slices))
        async with asyncio.timeout(10):
            assert await both.acked(await both.apply(translation.structure)) == ()
        try:
            yield world
        finally:
            await plane.shutdown(grace_seconds=0)
            await kernel.close(purge=True)
            await both.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_http_on_a_services_address_is_balanced_by_request(folder, failures):
    async with kernel_mode(folder, failures, "http") as world:
        webs = [Web(pod) for pod in world.pods]
        for space in (world.pods[0], world.node, world.outside):
            bodies = await asyncio.to_thread(space.call, requests, "10.96.0.10", 9)
            assert sorted(bodies) == sorted(pod.address for pod in world.pods for _ in range(3))
        for web in webs:
            web.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_least_connections_on_a_cluster_ip_follow_those_that_last(folder, failures):
    """Who has lost his long-lived connections gets the next ones, until all have as many."""
    async with kernel_mode(folder, failures, port=worlds.PORT, algorithm="least-request") as world:
        held = [await connected(world) for _ in range(9)]
        counts = collections.Counter(server for _, server in held)
        assert set(counts.values()) == {3}
        idle = world.pods[1].address
        for client, server in held:
            if server == idle:
                client.close()
        held = [one for one in held if one[1] != idle]
        async with asyncio.timeout(5):  # the ends travel through the engine
            while world.pods[1].exec("ss -Htn state established").strip():
                await asyncio.sleep(0)
        new = [await connected(world) for _ in range(4)]
        for client, _ in held + new:
            client.close()
        assert [server for _, server in new].count(idle) >= 3, new


async def connected(world):
    """A connection from outside, held open, and who has it."""
    client = await asyncio.to_thread(world.outside.call, socket.create_connection, ("10.96.0.10", 80), 3)
    greeting = await asyncio.to_thread(client.recv, 100)
    return client, greeting.decode().split()[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.skipif(not shutil.which("nghttpd"), reason="nghttp2's tools are not installed")
async def test_calls_on_one_http2_connection_are_balanced_one_by_one(folder, failures):
    async with kernel_mode(folder, failures, "kubernetes.io/h2c") as world:
        servers = []
        for pod in world.pods:
            root = folder / pod.name
            root.mkdir()
            (root / "who").write_text(pod.address + "\n")
            argv = ["ip", "netns", "exec", pod.name, "nghttpd", "--no-tls", "-d", str(root), "-a", pod.address, "80"]
            servers.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        urls = [f"http://10.96.0.10/who?{number}" for number in range(30)]
        argv = ["ip", "netns", "exec", world.pods[0].name, "nghttp", *urls]
        answers, end = [], time.monotonic() + 10
        every = {pod.address for pod in world.pods}
        while set(answers) != every and time.monotonic() < end:  # until every server listens
            done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False)
            answers = done.stdout.split()
        for server in servers:
            server.terminate()
            server.wait()
    assert len(answers) == 30
    assert all(8 <= answers.count(pod) <= 12 for pod in set(answers)), answers
