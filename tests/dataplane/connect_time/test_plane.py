"""Balancing at connect time, with real sockets: who is reached, what is left to nftables, and what ends it."""

import asyncio
import ctypes
import os
import pathlib
import re
import socket
import sys
import threading
import time

import pytest

from fairlead.base import clock, descriptors, netns
from fairlead.dataplane import coordinator
from fairlead.dataplane.connect_time import kernel as kernel_calls
from fairlead.dataplane.connect_time import load
from fairlead.dataplane.connect_time import plane as planes_here
from fairlead.routing import table
from fairlead.testing import planes, worlds
from fairlead.testing.kernel import VIP, WEB, backend, carry, of, servers, structure

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF and network namespaces need root"),
]


@pytest.fixture(scope="module")
def world():
    with worlds.World() as made:
        yield made


@pytest.fixture
async def connect_time(world, kernel, failures):
    """The plane, attached, for the world's node and pods."""
    made = planes_here.ConnectPlane(kernel, on_failure=lambda *failure: failures.append(failure))
    for pod in world.pods:
        made.admit(pod.name, pod.call(netns.cookie_here))
    await made.attach()
    yield made
    await made.close()


async def test_it_passes_the_checks_of_every_plane(world, kernel, failures):
    async def make():
        made = planes_here.ConnectPlane(kernel, on_failure=lambda *failure: failures.append(failure))
        await made.attach()
        return made

    await planes.check_plane(make)


async def test_pods_take_turns_without_nftables(world, connect_time):
    assert await carry(connect_time, structure(backend()), of(WEB, *world.pods)) == ()
    turns = {pod.address: 4 for pod in world.pods}
    assert await servers(world, world.node, 12) == turns
    assert await servers(world, world.pods[0], 12) == turns
    assert connect_time.connections(WEB) == 24


async def test_a_client_sees_the_services_address_as_its_peer(world, connect_time):
    await carry(connect_time, structure(backend()), of(WEB, world.pods[1]))

    def peer():
        with socket.create_connection((VIP, 80)) as client:
            return client.getpeername(), client.recv(100).decode().split()

    seen, (server, _, client) = await asyncio.to_thread(world.pods[0].call, peer)
    assert seen == (VIP, 80)
    assert (server, client) == (world.pods[1].address, world.pods[0].address)


async def test_ipv6_and_addresses_of_both_kinds(world, connect_time):
    service, name = "fd00:96::10", "default/six:80"
    made = structure(backend(), backend(name, address=service))
    await carry(connect_time, made, of(WEB, world.pods[1]), of(name, world.pods[1], family=6))
    assert await world.ask(world.pods[0], service, 80) == (world.pods[1].address6, "8080", world.pods[0].address6)
    assert (await world.ask(world.pods[0], f"::ffff:{VIP}", 80))[0] == world.pods[1].address
    assert (connect_time.connections(name), connect_time.connections(WEB)) == (1, 1)


async def test_datagrams_take_turns_by_socket_and_are_answered_from_the_services_address(world, connect_time):
    six = "default/six:80"
    made = structure(backend(protocol="udp"), backend(six, address="fd00:96::10", protocol="udp"))
    await carry(connect_time, made, of(WEB, *world.pods), of(six, *world.pods, family=6))
    asked = {"protocol": "datagrams"}
    assert await servers(world, world.pods[0], 6, **asked) == {pod.address: 2 for pod in world.pods}
    assert await servers(world, world.node, 6, **asked) == {pod.address: 2 for pod in world.pods}
    assert await servers(world, world.pods[0], 3, address="fd00:96::10", **asked) == {
        pod.address6: 1 for pod in world.pods
    }
    assert await servers(world, world.pods[0], 3, address=f"::ffff:{VIP}", **asked) == {
        pod.address: 1 for pod in world.pods
    }


async def test_a_sockets_datagrams_stay_at_their_endpoint_until_it_leaves(world, connect_time):
    made = structure(backend(protocol="udp"), backend("default/other:81", port=81, protocol="udp"))
    await carry(connect_time, made, of(WEB, *world.pods), of("default/other:81", world.pods[0]))
    client = await asyncio.to_thread(world.pods[1].call, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(1)

    def ask(port=80):
        client.sendto(b"?", (VIP, port))
        said, source = client.recvfrom(100)
        assert source == (VIP, port)
        return said.decode().split()[0]

    with client:
        first = ask()
        assert {ask() for _ in range(4)} == {first}
        assert ask(81) == world.pods[0].address  # two Services, one socket
        others = [pod for pod in world.pods if pod.address != first]
        await carry(connect_time, made, of(WEB, *reversed(world.pods)))
        assert ask() == first
        await carry(connect_time, made, of(WEB, *others))
        second = ask()
        assert second in {pod.address for pod in others}
        await carry(connect_time, made, of(WEB, *world.pods))
        assert {ask() for _ in range(4)} == {second}


async def test_a_connected_datagram_socket_is_left_to_nftables(world, kernel, connect_time):
    both = coordinator.Coordinator([kernel, connect_time], clock=clock.SystemClock(), on_failure=_fail)
    await both.acked(await both.apply(structure(backend(protocol="udp"))))
    await both.acked(await both.apply_endpoints([of(WEB, world.pods[0])]))

    def connected():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(1)
        client.connect((VIP, 80))
        return client

    client = await asyncio.to_thread(world.pods[1].call, connected)

    def ask():
        client.sendto(b"?", (VIP, 80))  # names the address, and hears nobody else
        return client.recv(100).decode().split()[0]

    with client:
        assert await asyncio.to_thread(ask) == world.pods[0].address
        await both.acked(await both.apply_endpoints([of(WEB, world.pods[2])]))
        assert await asyncio.to_thread(ask) == world.pods[2].address
    assert connect_time.connections(WEB) == 0


async def test_other_network_namespaces_are_left_alone(world, connect_time):
    world.outside.ip(f"addr add {VIP}/32 dev lo")
    await carry(connect_time, structure(backend()), of(WEB, world.pods[0]))
    with world.outside.call(worlds.server, VIP, 80, socket.SOCK_STREAM) as server:
        assert (await world.ask(world.outside, VIP, 80))[0] == VIP
        server.shutdown(socket.SHUT_RDWR)
    assert connect_time.connections(WEB) == 0


async def test_a_pod_that_is_gone_is_served_no_more(world, connect_time):
    await carry(connect_time, structure(backend()), of(WEB, world.pods[1]))
    connect_time.admit(world.pods[0].name, 0)
    assert await world.ask(world.pods[0], VIP, 80, seconds=0.3) == "DROP"
    assert connect_time.connections(WEB) == 0


async def test_what_it_does_not_carry_is_carried_by_nftables(world, kernel, connect_time):
    both = coordinator.Coordinator([kernel, connect_time], clock=clock.SystemClock(), on_failure=_fail)
    made = structure(
        backend(affinity=table.Affinity(timeout_seconds=60)), backend("default/empty:80", address="10.96.0.11")
    )
    await both.acked(await both.apply(made))
    await both.acked(await both.apply_endpoints([of(WEB, *world.pods), of("default/empty:80")]))
    assert list((await servers(world, world.pods[0], 4)).values()) == [4]
    assert await world.ask(world.pods[0], "10.96.0.11", 80) == "REJECT"
    assert await world.ask(world.pods[0], VIP, 81) == "REJECT"
    await both.acked(await both.apply(structure(backend())))
    assert await servers(world, world.pods[0], 6) == {pod.address: 2 for pod in world.pods}
    assert connect_time.connections(WEB) == 6


async def test_a_client_bound_to_a_loopback_address_is_left_to_nftables(world, connect_time):
    await carry(connect_time, structure(backend()), of(WEB, world.pods[0]))
    await world.ask(world.node, VIP, 80, bind="127.0.0.1", seconds=0.2)
    assert connect_time.connections(WEB) == 0


async def test_a_socket_that_connects_elsewhere_tells_its_real_peer(world, connect_time):
    await carry(connect_time, structure(backend()), of(WEB, world.pods[1]))

    def peers():
        with socket.socket() as client:
            client.connect((VIP, 80))
            first = client.getpeername()
            _disconnect(client)
            client.connect((world.pods[2].address, worlds.PORT))
            return first, client.getpeername()

    seen = await asyncio.to_thread(world.pods[0].call, peers)
    assert seen == ((VIP, 80), (world.pods[2].address, worlds.PORT))


async def test_an_endpoint_that_left_is_never_chosen_after_the_ack(world, connect_time):
    await carry(connect_time, structure(backend()), of(WEB, *world.pods))
    for _ in range(5):
        for left in ([0, 1], [1, 2], [0, 2]):
            pods = [world.pods[number] for number in left]
            await carry(connect_time, structure(backend()), of(WEB, *pods))
            assert set(await servers(world, world.node, 2)) == {pod.address for pod in pods}


async def test_clients_that_never_pause_miss_no_change(world, connect_time):
    """Each connection between an ack and the next change goes to who was left, whatever was written beside it."""
    await carry(connect_time, structure(backend()), of(WEB, *world.pods))
    stopping, asked, seen = threading.Event(), threading.Semaphore(0), []

    def ask():
        while not stopping.is_set():
            began = time.monotonic()
            with socket.create_connection((VIP, 80), timeout=5) as client:
                ended = time.monotonic()
                seen.append((began, ended, client.recv(100).decode().split()[0]))
                asked.release()

    asking = [asyncio.create_task(asyncio.to_thread(space.call, ask)) for space in (world.node, world.pods[0])]
    out = []  # (from, to, who was out)
    for turn in range(30):
        absent = world.pods[turn % 3]
        await carry(connect_time, structure(backend()), of(WEB, *(pod for pod in world.pods if pod is not absent)))
        since = time.monotonic()
        for _ in range(8):
            await asyncio.to_thread(asked.acquire)
        out.append((since, time.monotonic(), absent.address))
    stopping.set()
    await asyncio.gather(*asking)
    assert len(seen) > 100
    inside = [
        (who == address) for began, ended, who in seen for since, until, address in out if since < began < ended < until
    ]
    assert len(inside) > 50
    assert not any(inside)


async def test_an_open_connection_stays_when_its_endpoint_leaves_and_a_drain_waits_for_it(world, kernel, connect_time):
    both = coordinator.Coordinator([kernel, connect_time], clock=clock.SystemClock(), on_failure=_fail)
    await both.acked(await both.apply(structure(backend())))
    await both.acked(await both.apply_endpoints([of(WEB, world.pods[0])]))
    client = await asyncio.to_thread(world.pods[1].call, socket.create_connection, (VIP, 80))
    assert (await asyncio.to_thread(client.recv, 100)).decode().startswith(world.pods[0].address)
    drain = asyncio.create_task(both.drain(world.pods[0].address, deadline_seconds=5))
    await both.acked(await both.apply_endpoints([of(WEB, world.pods[0], world.pods[2])]))
    assert await servers(world, world.pods[1], 2) == {world.pods[2].address: 2}
    done, _ = await asyncio.wait({drain}, timeout=0.2)
    assert not done
    client.sendall(b"still there?")
    assert (await asyncio.to_thread(client.recv, 100)).decode().startswith(world.pods[0].address)
    client.close()
    outcome = await drain
    assert (outcome.left, outcome.silent) == (0, ())
    assert outcome.seconds < 4


async def test_a_drain_past_its_deadline_counts_a_connection_once(world, kernel, connect_time):
    both = coordinator.Coordinator([kernel, connect_time], clock=clock.SystemClock(), on_failure=_fail)
    await both.acked(await both.apply(structure(backend())))
    await both.acked(await both.apply_endpoints([of(WEB, world.pods[0])]))
    client = await asyncio.to_thread(world.pods[1].call, socket.create_connection, (VIP, 80))
    assert (await both.drain(world.pods[0].address, deadline_seconds=0.3)).left == 1
    client.close()


async def test_a_pod_that_reaches_itself_goes_straight_to_itself(world, connect_time):
    await carry(connect_time, structure(backend()), of(WEB, world.pods[0]))
    assert await world.ask(world.pods[0], VIP, 80) == (world.pods[0].address, "8080", world.pods[0].address)


async def test_who_kills_the_process_has_nftables_at_once_and_nothing_attached(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, *world.pods))
    top = os.open(load.top(), os.O_RDONLY)
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, stdout=-1, stdin=-1)
    assert await holder.stdout.readline() == b"attached\n"
    links = [entry.read_text() for entry in pathlib.Path(f"/proc/{holder.pid}/fdinfo").iterdir()]
    programs = {int(found[1]) for text in links if (found := re.search(r"prog_id:\s*(\d+)", text))}
    assert len(programs & set(attached(top))) == len(kernel_calls.ATTACH)  # others may attach theirs meanwhile
    holder.kill()
    await holder.communicate()
    assert not programs & set(attached(top))
    os.close(top)
    assert await servers(world, world.node, 3) == {pod.address: 1 for pod in world.pods}


async def test_no_program_that_we_start_keeps_the_maps_or_the_attachment(connect_time):
    """A shim that did kept the programs of a life that was killed attached, and connections led to pods long gone."""
    kept = {os.readlink(f"/proc/self/fd/{number}") for number in descriptors.inheritable()}
    assert not [what for what in kept if "bpf" in what]
    assert any("bpf" in os.readlink(entry) for entry in pathlib.Path("/proc/self/fd").iterdir() if entry.is_symlink())


@pytest.mark.parametrize(
    ("without", "why"),
    [
        (["setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-all"], "the kernel refused: .* not permitted"),
        (["unshare", "-m", "sh", "-c", 'umount -a -t cgroup2; exec "$@"', "-"], "no unified cgroup tree .* is mounted"),
    ],
    ids=["capabilities", "cgroup2"],
)
async def test_what_is_missing_is_said(without, why):
    asking = await asyncio.create_subprocess_exec(*without, sys.executable, "-c", ASKER, stdout=-1)
    said, _ = await asking.communicate()
    assert re.search(why, said.decode())


ASKER = """
import asyncio
from fairlead.dataplane.connect_time import tables
try:
    asyncio.run(tables.load())
except tables.CannotLoad as error:
    print(error)
"""
HOLDER = """
import asyncio, sys
from fairlead.dataplane.connect_time import tables
made = asyncio.run(tables.load())
print("attached", flush=True)
sys.stdin.read()
"""


def attached(top):
    return [number for name in kernel_calls.ATTACH for number in kernel_calls.attached(top, name)]


def _disconnect(client):
    """connect(2) with AF_UNSPEC dissolves the association."""
    if LIBC.connect(client.fileno(), b"\0" * 16, 16):
        raise OSError(ctypes.get_errno(), "disconnect")


LIBC = ctypes.CDLL(None, use_errno=True)


def _fail(name, error):
    raise AssertionError(name) from error
