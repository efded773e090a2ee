"""Network mode kernel in a namespace of the test's own: what it makes works, and all of it goes."""

import asyncio
import contextlib
import os
import re
import subprocess
import zlib
from pathlib import Path

import house as houses
import pytest

from fairlead.node import protocols, shim, spawner
from fairlead.node.network import choose, ipv6, kernel

pytestmark = pytest.mark.usefixtures("own_network")


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


CONF6 = Path("/proc/sys/net/ipv6/conf")
needs_ipv6 = pytest.mark.skipif(not ipv6.available(), reason="this kernel has IPv6 switched off")


def snapshot() -> tuple[str, ...]:
    """All that a network mode could leave behind."""
    return (
        run("ip", "-br", "link"),
        run("ip", "-br", "-4", "addr"),
        run("ip", "-br", "-6", "addr", "show", "dev", "lo"),
        run("ip", "route", "show", "table", "all"),
        run("ip", "neigh"),
        Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        str([(str(path), path.read_text()) for path in sorted(CONF6.glob("*/forwarding"))]),
        str([(str(path), path.read_text()) for path in sorted(CONF6.glob("*/accept_ra"))]),
        str(own_note().exists()),  # others' stay beside it
    )


def own_note() -> Path:
    return Path("/run/fairlead") / f"net-{os.stat('/proc/thread-self/ns/net').st_ino}"


@contextlib.contextmanager
def namespaces(count: int):
    """Processes in network namespaces of their own."""
    held = [
        subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        for process in held:
            process.stdout.readline()
        yield [process.pid for process in held]
    finally:
        for process in held:
            process.kill()
            process.communicate()


def inside(pid: int, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nsenter", "-t", str(pid), "-n", *words], capture_output=True, text=True)


async def test_pods_reach_each_other_and_the_node_and_nothing_is_left():
    before = snapshot()
    network = kernel.KernelNetwork("tests")
    await network.start()
    assert (network.cidr, network.gateway) == ("10.244.0.0/16", "10.244.0.1")
    with namespaces(2) as (one, two):
        for uid, pid in (("a", one), ("b", two)):
            network.allocate(uid)
            await network.attach(uid, pid)
        assert inside(one, "ping", "-c1", "-W2", "10.244.0.3").returncode == 0
        assert inside(two, "ping", "-c1", "-W2", "10.244.0.1").returncode == 0
        run("ping", "-c1", "-W2", "10.244.0.2")
        assert inside(one, "ping", "-c1", "-W1", "10.244.9.9").returncode != 0
        await network.detach("b")
        assert network.link_name("b") not in run("ip", "-br", "link")
        await network.close()
    assert snapshot() == before


async def test_attaching_again_changes_nothing_and_a_new_life_takes_the_same_range():
    network = kernel.KernelNetwork("tests")
    await network.start()
    with namespaces(1) as (pid,):
        network.allocate("a")
        await network.attach("a", pid)
        await network.release()
        links = run("ip", "link")
        again = kernel.KernelNetwork("tests", wanted=network.cidr)
        await again.start()
        assert again.cidr == network.cidr
        assert again.allocate("a", wanted="10.244.0.2").ip == "10.244.0.2"
        await again.attach("a", pid)
        assert run("ip", "link") == links
        run("ping", "-c1", "-W2", "10.244.0.2")
        await again.close()


async def test_the_service_range_has_a_route_of_its_own_but_never_over_somebody_elses():
    before = snapshot()
    network = kernel.KernelNetwork("tests")
    await network.start()
    await network.lead("10.96.0.0/16")
    assert "dev lo" in run("ip", "route", "get", "10.96.7.7")  # also without a default route
    await network.lead("10.96.0.0/16")  # the next life does it again
    await network.close()
    assert snapshot() == before
    run("ip", "route", "add", "blackhole", "10.96.7.0/24")
    await (network := kernel.KernelNetwork("tests")).start()
    await network.lead("10.96.0.0/16")
    assert "10.96.0.0/16" not in run("ip", "route")
    await network.close()
    run("ip", "route", "del", "blackhole", "10.96.7.0/24")
    assert snapshot() == before


async def test_clusters_side_by_side_take_different_ranges_and_the_last_restores_forwarding():
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    forward.write_text("0")
    before = snapshot()
    one, two = kernel.KernelNetwork("one"), kernel.KernelNetwork("two")
    await one.start()
    await two.start()
    assert one.cidr != two.cidr
    assert forward.read_text() == "1\n"
    await one.close()
    assert forward.read_text() == "1\n"
    assert run("ip", "route").count("unreachable") == 1
    await two.close()
    assert forward.read_text() == "0\n"
    assert snapshot() == before


async def test_what_a_dead_life_left_is_cleaned_by_name():
    before = snapshot()
    network, other = kernel.KernelNetwork("mine"), kernel.KernelNetwork("others")
    await network.start()
    await other.start()
    with namespaces(2) as (one, two):
        network.allocate("a")
        await network.attach("a", one)
        other.allocate("a")
        await other.attach("a", two)
        await network.release()
        given = [(network.cidr, ""), (network.second_cidr, "")]
        await asyncio.to_thread(kernel.clean, "mine", given)
        await asyncio.to_thread(kernel.clean, "mine", given)
        assert other.link_name("a") in run("ip", "-br", "link")
        assert network.link_name("a") not in run("ip", "-br", "link")
        await other.close()
    assert snapshot() == before


async def test_a_range_that_routes_use_is_left_alone():
    run("ip", "route", "add", "unreachable", "10.244.128.0/17")
    network = kernel.KernelNetwork("tests", avoid=("10.245.0.0/16",))
    await network.start()
    assert network.cidr == "10.246.0.0/16"
    await network.close()


async def test_an_address_is_not_used_again_at_once():
    network = kernel.KernelNetwork("tests")
    await network.start()
    first = network.allocate("a").ip
    await network.detach("a")
    assert network.allocate("b").ip != first
    assert network.allocate("b").ip == network.allocate("b").ip
    await network.close()


async def test_the_chooser_takes_the_best_and_says_why():
    choice = await choose.choose("tests")
    assert choice.network.mode == "kernel"
    await choice.network.close()
    forced = await choose.choose("tests", forced="loopback")
    assert forced.network.mode == "loopback"
    assert "--network" in forced.reason
    await forced.network.close()
    with pytest.raises(protocols.NetworkUnavailable, match="rootless"):
        await choose.choose("tests", forced="rootless")
    assert not own_note().exists()


async def test_whoever_asks_is_told_the_pods_namespaces():
    network, told = kernel.KernelNetwork("tests"), []
    network.on_namespace = lambda pod, number: told.append((pod, number))
    await network.start()
    with namespaces(2) as (one, two):
        for uid, pid in (("a", one), ("b", two)):
            network.allocate(uid)
            await network.attach(uid, pid)
        first = told[0][1]
        assert [pod for pod, _ in told] == ["a", "b"]
        assert 0 != first != told[1][1] != 0
        await network.attach("a", one)  # as the next life of fairlead does
        await network.detach("a")
        assert told[2:] == [("a", first), ("a", 0)]
    await network.close()


@contextlib.asynccontextmanager
async def shims(network: kernel.KernelNetwork, folder: Path, *uids: str):
    """New shims with those pods' wiring."""
    if len(houses.engine()) > 1:
        pytest.skip("needs the engine's shim: set FAIRLEAD_ENGINE")
    starter = spawner.Spawner(houses.engine(), folder)
    config = {"pod": "default/web", "namespaces": ["net", "pid", "uts", "ipc"], "loopback_up": True}
    made = {}
    try:
        for uid in uids:
            network.allocate(uid)
            made[uid] = await starter.start(uid, config, files={}, timeout_seconds=10, wiring=network.wiring(uid))
        yield list(made.values())
    finally:
        for uid in made:
            connection = await shim.connect(folder / uid)
            await connection.request("stop")
            await connection.close()
        await starter.close()


async def test_a_pod_is_connected_while_its_shim_starts_and_just_as_it_would_be_afterwards(tmp_path):
    before = snapshot()
    network = kernel.KernelNetwork("tests")
    await network.start()
    async with shims(network, tmp_path, "a", "b") as (one, two):
        assert one.connected
        assert two.connected
        assert inside(one.pid, "ping", "-c1", "-W2", "10.244.0.3").returncode == 0
        assert inside(two.pid, "ping", "-c1", "-W2", "10.244.0.1").returncode == 0
        assert "2: eth0@" in inside(one.pid, "ip", "link").stdout

        def seen():
            asked = (("link",), ("address",), ("route",), ("-6", "route"), ("neighbour", "show", "nud", "permanent"))
            there = [inside(made.pid, "ip", *words).stdout for made in (one, two) for words in asked]
            return [*(run("ip", *words) for words in asked), *there]

        known, told = seen(), []
        network.on_namespace = lambda pod, number: told.append(number)
        for uid, made in (("a", one), ("b", two)):
            await network.attach(uid, made.pid, connected=True)
        assert 0 != told[0] != told[1] != 0
        for uid, made in (("a", one), ("b", two)):
            await network.attach(uid, made.pid)
        assert told[2:] == told[:2]
        assert seen() == known
        for uid in ("a", "b"):
            await network.detach(uid)
        await network.close()
    assert snapshot() == before


async def test_each_end_of_a_pods_link_is_born_with_one_queue(tmp_path):
    network = kernel.KernelNetwork("tests")
    await network.start()
    async with shims(network, tmp_path, "a") as (made,):
        for link in (inside(made.pid, "ip", "-d", "link", "show", "eth0").stdout, run("ip", "-d", "link")):
            assert "veth" in link
            assert re.findall(r"veth .*?num([rt]x)queues (\d+) num([rt]x)queues (\d+)", link) == [
                ("tx", "1", "rx", "1")
            ]
    await network.close()


async def test_a_pod_whose_links_number_is_taken_is_connected_afterwards(tmp_path):
    network = kernel.KernelNetwork("tests")
    await network.start()
    number = (1 << 28) + (zlib.crc32(network.cidr.encode()) % 4096 << 16) + 2
    run("ip", "link", "add", "taken", "index", str(number), "type", "veth", "peer", "name", "other")
    try:
        async with shims(network, tmp_path, "a") as (made,):
            assert not made.connected
            await network.attach("a", made.pid, connected=made.connected)
            assert inside(made.pid, "ping", "-c1", "-W2", "10.244.0.1").returncode == 0
    finally:
        run("ip", "link", "delete", "taken")
        await network.close()


@needs_ipv6
async def test_pods_have_an_ipv6_address_of_the_same_number_and_keep_it():
    before = snapshot()
    network = kernel.KernelNetwork("tests")
    await network.start()
    await network.lead("10.96.0.0/16", "fd00:10:96::/112")
    try:
        with namespaces(2) as (one, two):
            first, other = network.allocate("a"), network.allocate("b")
            assert first.second.rpartition(":")[2] == f"{int(first.ip.rpartition('.')[2]):x}"
            await network.attach("a", one)
            await network.attach("b", two)
            for pid, target in ((one, other.second), (two, first.second), (one, network.second_gateway)):
                said = inside(pid, "ping", "-6", "-c1", "-W2", target)
                assert said.returncode == 0, said.stdout + said.stderr
            assert run("ping", "-6", "-c1", "-W2", first.second)
            assert "lo" in run("ip", "-6", "route", "get", "fd00:10:96::7")
            again = kernel.KernelNetwork("tests", wanted=network.cidr, second_wanted=network.second_cidr)
            await network.release()
            await again.start()
            assert again.allocate("b", wanted=other.ip) == other
            await again.attach("b", two)
            assert inside(two, "ping", "-6", "-c1", "-W2", network.second_gateway).returncode == 0
            await again.lead("10.96.0.0/16", "fd00:10:96::/112")
            network = again
    finally:
        await network.close()
    assert snapshot() == before


@needs_ipv6
async def test_an_ipv6_range_that_somebody_has_is_left_alone():
    run("ip", "-6", "route", "add", "unreachable", "fd00:10:244::/48")
    network = kernel.KernelNetwork("tests")
    try:
        await network.start()
        assert network.second_cidr == "fd00:10:245::/112"
    finally:
        await network.close()
        run("ip", "-6", "route", "del", "unreachable", "fd00:10:244::/48")


@needs_ipv6
async def test_a_machine_with_ipv6_off_has_pods_of_one_family():
    (CONF6 / "all" / "disable_ipv6").write_text("1")
    network = kernel.KernelNetwork("tests")
    try:
        await network.start()
        assert (network.second_cidr, network.second_gateway, network.allocate("a").second) == ("", "", "")
    finally:
        await network.close()
        (CONF6 / "all" / "disable_ipv6").write_text("0")


@needs_ipv6
async def test_a_cluster_of_ipv6_alone_needs_and_leaves_nothing_of_ipv4():
    (forward := Path("/proc/sys/net/ipv4/ip_forward")).write_text("0")
    before = snapshot()
    network = kernel.KernelNetwork("tests", families=["IPv6"], all_required=True)
    await network.start()
    try:
        assert (network.cidr, network.gateway) == ("fd00:10:244::/112", "fd00:10:244::1")
        assert (network.second_cidr, network.second_gateway, forward.read_text()) == ("", "", "0\n")
        await network.lead("fd00:10:96::/112")
        with namespaces(2) as (one, two):
            for uid, pid in (("a", one), ("b", two)):
                network.allocate(uid)
                await network.attach(uid, pid)
            assert network.allocate("b") == protocols.PodAddress("fd00:10:244::3", own_network=True)
            assert inside(one, "ping", "-6", "-c1", "-W2", "fd00:10:244::3").returncode == 0
            assert "inet " not in inside(one, "ip", "addr", "show", "dev", "eth0").stdout
            again = kernel.KernelNetwork("tests", wanted=network.cidr, families=["IPv6"])
            await network.release()
            await again.start()
            await again.lead("fd00:10:96::/112")
            assert again.allocate("b", wanted="fd00:10:244::3").ip == "fd00:10:244::3"
            network = again
    finally:
        await network.close()
    assert snapshot() == before


@needs_ipv6
async def test_with_ipv6_first_the_numbers_are_alike_all_the_same():
    network = kernel.KernelNetwork("tests", families=["IPv6", "IPv4"], wanted="fd00:10:250::/112")
    await network.start()
    try:
        assert (network.cidr, network.second_cidr) == ("fd00:10:250::/112", "10.250.0.0/16")
        assert network.allocate("a") == protocols.PodAddress("fd00:10:250::2", own_network=True, second="10.250.0.2")
    finally:
        await network.close()


@needs_ipv6
async def test_a_family_that_was_asked_for_and_cannot_be_had_ends_the_start():
    (CONF6 / "all" / "disable_ipv6").write_text("1")
    before = snapshot()
    try:
        for families in (["IPv6"], ["IPv4", "IPv6"]):
            with pytest.raises(protocols.NetworkUnavailable, match="IPv6 switched off"):
                await kernel.KernelNetwork("tests", families=families, all_required=True).start()
        assert snapshot() == before
        with pytest.raises(protocols.NetworkUnavailable, match=r"kernel: .*switched off.*; loopback: .*one loopback"):
            await choose.choose("tests", families=["IPv6"], all_required=True)
    finally:
        (CONF6 / "all" / "disable_ipv6").write_text("0")
