"""The kernel plane over time: restarts of fairlead, others who flush or drop, and what is left after a purge."""

import asyncio
import os
import socket
import subprocess

import pytest

from fairlead.base import clock
from fairlead.dataplane import nftables
from fairlead.routing import table
from fairlead.testing import worlds
from fairlead.testing.kernel import VIP, WEB, backend, carry, of, servers, structure

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


async def second_life(kernel, failures):
    await kernel.close()
    made = nftables.NftablesPlane(
        "fairlead-test",
        clock=clock.SystemClock(),
        on_failure=lambda *failure: failures.append(failure),
        pods=(worlds.PODS4, worlds.PODS6),
        services=(worlds.SERVICES4,),
    )
    await made.start()
    return made


async def test_affinity_outlives_fairlead(world, kernel, failures):
    made = structure(backend("a/first:1", address="10.96.0.9"), backend(affinity=table.Affinity(timeout_seconds=60)))
    await carry(kernel, made, of(WEB, *world.pods))
    (kept,) = await servers(world, world.outside, 3)
    again = await second_life(kernel, failures)
    less = structure(backend(affinity=table.Affinity(timeout_seconds=60)))  # numbers must not shift
    assert await carry(again, less, of(WEB, *world.pods)) == ()
    assert await servers(world, world.outside, 3) == {kept: 3}
    left = [pod for pod in world.pods if pod.address != kept]
    third = await second_life(again, failures)
    await carry(third, less, of(WEB, *left))
    assert kept not in await servers(world, world.outside, 3)
    await third.close()


async def test_the_next_life_carries_on_without_a_gap(world, kernel, failures):
    await carry(kernel, structure(backend()), of(WEB, *world.pods[:2]))
    again = await second_life(kernel, failures)
    assert len(await servers(world, world.outside, 4)) == 2  # nothing was told yet
    await again.apply_endpoints([of(WEB, world.pods[2])])
    assert len(await servers(world, world.outside, 4)) == 2  # endpoints of Services that are not known yet
    await carry(again, structure(backend(port=81), backend("b", address="10.96.0.11")), of(WEB, world.pods[2]))
    assert await servers(world, world.outside, 2, port=81) == {world.pods[2].address: 2}
    assert await world.ask(world.outside, VIP, 80) == "REJECT"
    assert await world.ask(world.outside, "10.96.0.11", 80) == "REJECT"
    assert again.nacks == ()
    await again.close()


@pytest.mark.parametrize(
    "vandalism",
    [
        "flush ruleset",
        "delete table inet fairlead-test",
        "flush chain inet fairlead-test prerouting",
        "flush chain inet fairlead-test b1",
        "flush map inet fairlead-test services4",
        "flush map inet fairlead-test endpoints4_01",
    ],
)
async def test_what_somebody_flushes_is_written_again(world, kernel, vandalism):
    await carry(kernel, structure(backend()), of(WEB, *world.pods))
    await asyncio.to_thread(world.node.exec, f"nft {vandalism}")
    async with asyncio.timeout(8):
        while not kernel.reloads:
            await asyncio.sleep(0.05)
        while (await world.ask(world.outside, VIP, 80, seconds=0.3))[0] not in {pod.address for pod in world.pods}:
            pass
    assert await servers(world, world.outside, 6) == {pod.address: 2 for pod in world.pods}


async def test_changes_of_others_are_left_alone_and_nothing_is_reloaded(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, *world.pods))
    await asyncio.to_thread(world.node.exec, "nft add table ip theirs")
    await carry(kernel, structure(backend()), of(WEB, *world.pods[:2]))
    done, _ = await asyncio.wait({asyncio.create_task(asyncio.sleep(1.3))})
    assert done
    assert kernel.reloads == 0
    assert "table ip theirs" in world.node.exec("nft list tables")


DOCKER = """
table ip filter {
  chain DOCKER-USER { return; }
  chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }
}
table ip ufw {
  chain input { type filter hook input priority 0; policy drop; iif lo accept; }
}
table inet strict {
  chain forward { type filter hook forward priority 10; policy drop; ip6 saddr ::1 drop; }
}
""".replace("; }", ";\n}")


async def test_pods_pass_where_docker_drops_what_is_forwarded(world, kernel):
    def load():
        return subprocess.run(["nft", "-f", "-"], input=DOCKER, text=True, check=True, capture_output=True)

    before_tables = world.node.exec("nft list ruleset")
    await asyncio.to_thread(load)

    def listed():
        return "".join(world.node.exec(f"nft list table {one}") for one in ("ip filter", "inet strict", "ip ufw"))

    theirs = listed()
    assert before_tables not in theirs
    await carry(kernel, structure(backend()), of(WEB, world.pods[0]))
    async with asyncio.timeout(8):  # it came while we run: seen within a second
        while await world.ask(world.pods[1], VIP, 80, seconds=0.3) == "DROP":
            pass
    v6 = (world.pods[0].address6, worlds.PORT)
    assert (await world.ask(world.pods[1], *v6))[0] == world.pods[0].address6
    assert 'comment "fairlead-test"' in world.node.exec("nft list chain ip filter FORWARD")
    with socket.create_server((worlds.GATEWAY, 0)) as door:
        port = door.getsockname()[1]
        client = await asyncio.to_thread(world.pods[0].call, socket.create_connection, (worlds.GATEWAY, port), 2)
        client.close()
        with pytest.raises(TimeoutError):  # nobody else may, as before
            await asyncio.to_thread(world.outside.call, socket.create_connection, (worlds.GATEWAY, port), 0.3)
    await kernel.close(purge=True)
    assert listed() == theirs


FIREWALLD = """
table inet firewalld {
  chain policies { ct state invalid drop; }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state established,related accept; iifname lo accept; jump policies; reject with icmpx admin-prohibited;
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state established,related accept; ct status dnat accept; counter goto rest;
  }
  chain rest { log prefix "end"; counter drop; }
}
table ip guards {
  chain FORWARD { type filter hook forward priority 0; policy accept; ip saddr 192.0.2.66 drop; }
}
""".replace("; }", ";\n}")
THEIR_CHAINS = ("inet firewalld filter_FORWARD", "inet firewalld filter_INPUT", "ip guards FORWARD")


async def test_pods_pass_where_firewalld_refuses_by_its_last_rule(world, kernel):
    """Its policy is to accept, and its chains end with a rule that refuses the rest. A condition is no end."""
    await asyncio.to_thread(subprocess.run, ["nft", "-f", "-"], input=FIREWALLD, text=True, check=True)
    theirs = [world.node.exec(f"nft -s list chain {one}") for one in THEIR_CHAINS]
    pod = world.pods[0]
    async with asyncio.timeout(8):  # it came while we run: seen within a second
        while isinstance(await world.ask(world.pods[1], pod.address, worlds.PORT, seconds=0.3), str):
            pass
    assert (await world.ask(world.pods[1], pod.address6, worlds.PORT))[0] == pod.address6
    with socket.create_server((worlds.GATEWAY, 0)) as door:
        where = door.getsockname()
        client = await asyncio.to_thread(pod.call, socket.create_connection, where, 2)
        client.close()
    opened, inside, left = [world.node.exec(f"nft -s list chain {one}") for one in THEIR_CHAINS]
    assert opened.count('comment "fairlead-test"') == 4 and inside.count('comment "fairlead-test"') == 1
    assert left == theirs[2]
    assert kernel.obstacles == ()
    await kernel.close(purge=True)
    assert [world.node.exec(f"nft -s list chain {one}") for one in THEIR_CHAINS] == theirs


async def test_a_firewall_that_its_owner_keeps_for_itself_is_told_with_what_to_do(world, failures):
    """firewalld may own its table (NftablesTableOwner=yes); nobody else may write to it then."""
    owner = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    told = asyncio.Queue()
    plane = nftables.NftablesPlane(
        "fairlead-test", clock=clock.SystemClock(), on_failure=lambda *failure: failures.append(failure),
        pods=(worlds.PODS4,), gateways=(worlds.GATEWAY,), on_obstacles=told.put_nowait,
    )  # fmt: skip
    await plane.start()
    owner.stdin.write(
        "add table inet firewalld { flags owner; }\n"
        "add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }\n"
        "add rule inet firewalld filter_FORWARD reject\n"
    )
    owner.stdin.flush()
    async with asyncio.timeout(8):
        (said,) = await told.get()
    assert said == (
        "inet firewalld filter_FORWARD may refuse what pods send to each other and outside, and its owner keeps it for "
        "itself; firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16 && firewall-cmd --reload"
    )
    owner.communicate()
    async with asyncio.timeout(8):
        assert await told.get() == ()
    await plane.close(purge=True)


async def test_a_repair_that_fails_is_tried_again(world, tmp_path):
    """`nft` cannot be started for a while, as with no processes or descriptors left."""
    nft, told = tmp_path / "nft", []
    nft.write_text('#!/bin/sh\nexec nft "$@"\n')
    nft.chmod(0o755)
    kernel = nftables.NftablesPlane(
        "fairlead-test",
        clock=clock.SystemClock(),
        on_failure=lambda *failure: told.append(failure),
        pods=(worlds.PODS4, worlds.PODS6),
        services=(worlds.SERVICES4,),
        nft=str(nft),
    )
    await kernel.start()
    try:
        await carry(kernel, structure(backend()), of(WEB, *world.pods))
        nft.chmod(0o600)
        await asyncio.to_thread(world.node.exec, "nft delete table inet fairlead-test")
        async with asyncio.timeout(8):
            while len(told) < 3:
                await asyncio.sleep(0.05)
            nft.chmod(0o755)
            pods = {pod.address for pod in world.pods}
            while (await world.ask(world.outside, VIP, 80, seconds=0.3))[0] not in pods:
                pass
        await carry(kernel, structure(backend()), of(WEB, world.pods[0]))
        assert await servers(world, world.outside, 6) == {world.pods[0].address: 6}
    finally:
        await kernel.close(purge=True)
