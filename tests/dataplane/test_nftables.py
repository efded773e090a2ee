"""The kernel as a plane, with real packets."""

import asyncio
import os
import socket
import subprocess
import time

import msgspec
import pytest

from fairlead.base import clock
from fairlead.dataplane import nftables
from fairlead.routing import table
from fairlead.testing import planes, worlds
from fairlead.testing.kernel import VIP, WEB, backend, carry, of, servers, structure

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


async def test_it_passes_the_checks_of_every_plane(world, failures):
    async def make():
        made = nftables.NftablesPlane(
            "fairlead-check", clock=clock.SystemClock(), on_failure=lambda *failure: failures.append(failure)
        )
        await made.start()
        return made

    await planes.check_plane(make)
    nftables.delete_table("fairlead-check")


async def test_pods_take_turns(world, kernel):
    assert await carry(kernel, structure(backend()), of(WEB, *world.pods)) == ()
    turns = {pod.address: 4 for pod in world.pods}
    assert await servers(world, world.node, 12) == turns
    assert await servers(world, world.outside, 12) == turns
    assert await servers(world, world.pods[0], 12) == turns


async def test_the_clients_address_is_kept_inside(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, world.pods[1]))
    client = world.pods[0]
    assert await world.ask(client, VIP, 80) == (world.pods[1].address, "8080", client.address)


async def test_a_pod_reaches_itself_through_its_service(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, world.pods[0]))
    server, _, seen = await world.ask(world.pods[0], VIP, 80)
    assert server == world.pods[0].address
    assert seen != world.pods[0].address


async def test_pods_reach_the_outside_with_the_nodes_address(world, kernel):
    server = world.outside.call(worlds.server, worlds.OUTSIDE, worlds.PORT, socket.SOCK_STREAM)
    assert await world.ask(world.pods[0], worlds.OUTSIDE, worlds.PORT) == (worlds.OUTSIDE, "8080", worlds.NODE)
    server.shutdown(socket.SHUT_RDWR)
    server.close()


async def test_without_endpoints_a_connection_is_refused_in_ten_milliseconds(world, kernel):
    await carry(kernel, structure(backend()))
    for space in (world.node, world.pods[0], world.outside):
        started = time.monotonic()
        assert await world.ask(space, VIP, 80) == "REJECT"
        assert time.monotonic() - started < 0.05  # the thread that enters the namespace included


async def test_udp_without_endpoints_is_refused(world, kernel):
    await carry(kernel, structure(backend(protocol="udp")))
    assert await world.ask(world.pods[0], VIP, 80, protocol="udp") == "REJECT"


async def test_a_port_that_the_service_has_not_is_refused_and_an_unused_address_drops(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, world.pods[0]))
    assert await world.ask(world.pods[1], VIP, 81) == "REJECT"
    assert await world.ask(world.pods[1], "10.96.9.9", 80, seconds=0.3) == "DROP"


async def test_udp_takes_turns(world, kernel):
    await carry(kernel, structure(backend(protocol="udp")), of(WEB, *world.pods))
    assert await servers(world, world.pods[0], 6, protocol="udp") == {pod.address: 2 for pod in world.pods}


async def test_a_replaced_endpoint_is_an_update_of_one_element(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, *world.pods[:2]))
    before = world.node.exec("nft -a list chain inet fairlead-test b1")
    await carry(kernel, structure(backend()), of(WEB, world.pods[0], world.pods[2]))
    assert world.node.exec("nft -a list chain inet fairlead-test b1") == before
    assert await servers(world, world.node, 4) == {world.pods[0].address: 2, world.pods[2].address: 2}


async def test_an_open_connection_stays_when_its_endpoint_leaves(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, world.pods[0]))
    client = await asyncio.to_thread(world.pods[1].call, socket.create_connection, (VIP, 80))
    assert (await asyncio.to_thread(client.recv, 100)).decode().startswith(world.pods[0].address)
    await carry(kernel, structure(backend()), of(WEB, world.pods[2]))
    client.sendall(b"still there?")
    assert (await asyncio.to_thread(client.recv, 100)).decode().startswith(world.pods[0].address)
    client.close()


async def test_draining_endpoints_are_used_only_when_no_other_is_left(world, kernel):
    both = table.BackendEndpoints(
        backend=WEB,
        endpoints=(*of(WEB, world.pods[0]).endpoints, *of(WEB, world.pods[1], state="draining").endpoints),
    )
    await carry(kernel, structure(backend()), both)
    assert await servers(world, world.node, 4) == {world.pods[0].address: 4}
    await carry(kernel, structure(backend()), of(WEB, world.pods[1], state="draining"))
    assert await servers(world, world.node, 4) == {world.pods[1].address: 4}


async def test_a_drain_waits_for_established_connections(world, kernel):
    await carry(kernel, structure(backend()), of(WEB, world.pods[0]))
    client = await asyncio.to_thread(world.pods[1].call, socket.create_connection, (VIP, 80))
    await asyncio.to_thread(client.recv, 100)
    drain = asyncio.create_task(kernel.drained(world.pods[0].address))
    done, _ = await asyncio.wait({drain}, timeout=0.2)
    assert not done
    client.close()
    async with asyncio.timeout(5):
        assert await drain == 0


async def test_a_drain_asks_whoever_knows_the_connections_and_else_the_kernels_table(world):
    left = [[b"one", b"two"], [b"two"], []]
    asked = []

    async def accepted(address, before):
        asked.append((address, before))
        return left.pop(0) if address == "10.244.0.77" else None

    made = nftables.NftablesPlane(
        "fairlead-asks", clock=clock.SystemClock(), on_failure=lambda *failure: None, accepted=accepted
    )
    await made.start()
    try:
        async with asyncio.timeout(5):
            assert await made.drained("10.244.0.77") == 0
            assert [before for _, before in asked] == [(), [b"one", b"two"], [b"two"]]
            left.append([b"three"])
            assert await made.in_flight("10.244.0.77") == 1
            assert await made.in_flight("10.244.0.78") == await made.drained("10.244.0.78") == 0
    finally:
        await made.close(purge=True)


async def test_affinity_keeps_a_client_at_its_endpoint(world, kernel):
    made = structure(backend(affinity=table.Affinity(timeout_seconds=60)))
    assert await carry(kernel, made, of(WEB, *world.pods)) == ()
    (kept,) = await servers(world, world.outside, 6)
    (other,) = await servers(world, world.node, 6)
    left = [pod for pod in world.pods if pod.address != kept]
    await carry(kernel, made, of(WEB, *left))
    (moved,) = await servers(world, world.outside, 6)
    assert moved != kept
    await carry(kernel, made, of(WEB, *world.pods))
    assert await servers(world, world.outside, 3) == {moved: 3}
    assert other in {pod.address for pod in world.pods}


async def test_affinity_ends_with_its_timeout(world, kernel):
    made = structure(backend(affinity=table.Affinity(timeout_seconds=0.2)))
    await carry(kernel, made, of(WEB, *world.pods))
    first, *_ = await world.ask(world.outside, VIP, 80)
    assert (await world.ask(world.outside, VIP, 80))[0] == first
    await asyncio.to_thread(time.sleep, 0.4)
    assert (await world.ask(world.outside, VIP, 80))[0] != first


async def test_a_source_hash_keeps_a_client_without_memory(world, kernel):
    await carry(kernel, structure(backend(algorithm="ip-hash")), of(WEB, *world.pods))
    for space in (world.outside, *world.pods):
        assert len(await servers(world, space, 4)) == 1


async def test_node_ports_answer_outside_and_masquerade(world, kernel):
    virtual = (table.Virtual(address="", port=30080, node_port=True, external=True),)
    await carry(kernel, structure(backend(virtual=virtual)), of(WEB, *world.pods))
    server, _, seen = await world.ask(world.outside, worlds.NODE, 30080)
    assert server in {pod.address for pod in world.pods}
    assert seen != worlds.OUTSIDE


async def test_who_came_from_outside_is_seen_out_while_the_inside_goes_on(world, kernel):
    both = (table.Virtual(address=VIP, port=80), table.Virtual(address="", port=30080, node_port=True, external=True))
    made = structure(backend(virtual=both))
    await carry(kernel, made, of(WEB, *world.pods))
    inside = await asyncio.to_thread(world.pods[1].call, socket.create_connection, (VIP, 80))
    client = await asyncio.to_thread(world.outside.call, socket.create_connection, (worlds.NODE, 30080))
    for one in (inside, client):
        await asyncio.to_thread(one.recv, 100)
    await carry(kernel, msgspec.structs.replace(made, shut="outside"))
    assert await world.ask(world.outside, worlds.NODE, 30080) == "REJECT"
    assert await servers(world, world.pods[0], 3) == {pod.address: 1 for pod in world.pods}
    assert isinstance(await world.ask(world.pods[0], worlds.NODE, 30080), tuple)
    leaving = asyncio.create_task(kernel.seen_out(()))
    done, _ = await asyncio.wait({leaving}, timeout=0.2)
    assert not done
    client.close()
    async with asyncio.timeout(5):
        assert await leaving == 0
    inside.close()


async def test_policy_local_keeps_the_clients_address_and_drops_without_local_endpoints(world, kernel):
    wide = backend("wide")
    near = backend(
        "near", virtual=(table.Virtual(address="", port=30081, node_port=True, external=True, cluster="wide"),)
    )
    await carry(kernel, structure(wide, near), of("wide", world.pods[0]), of("near", world.pods[0]))
    assert await world.ask(world.outside, worlds.NODE, 30081) == (world.pods[0].address, "8080", worlds.OUTSIDE)
    await carry(kernel, structure(wide, near), of("wide", world.pods[0]), of("near"))
    assert await world.ask(world.outside, worlds.NODE, 30081, seconds=0.3) == "DROP"
    assert (await world.ask(world.pods[1], worlds.NODE, 30081))[0] == world.pods[
        0
    ].address  # from inside: all endpoints
    await carry(kernel, structure(wide, near), of("wide"), of("near"))
    assert await world.ask(world.outside, worlds.NODE, 30081) == "REJECT"


async def test_external_addresses_and_source_ranges(world, kernel):
    virtual = (
        table.Virtual(address="203.0.113.1", port=80, external=True),
        table.Virtual(address="203.0.113.2", port=80, external=True, sources=("198.51.100.0/24",)),
        table.Virtual(address="203.0.113.3", port=80, external=True, sources=("198.51.100.0/24", "192.0.2.0/28")),
    )
    await carry(kernel, structure(backend(virtual=virtual)), of(WEB, world.pods[0]))
    assert (await world.ask(world.outside, "203.0.113.1", 80))[0] == world.pods[0].address
    assert await world.ask(world.outside, "203.0.113.2", 80, seconds=0.3) == "DROP"
    assert (await world.ask(world.outside, "203.0.113.3", 80))[0] == world.pods[0].address


async def test_ipv6(world, kernel):
    made = structure(backend(address="fd00:96::10", affinity=table.Affinity(timeout_seconds=60)))
    assert await carry(kernel, made, of(WEB, *world.pods, family=6)) == ()
    (kept,) = await servers(world, world.outside, 4, address="fd00:96::10")
    assert kept in {pod.address6 for pod in world.pods}
    await carry(kernel, structure(backend(address="fd00:96::10")), of(WEB, *world.pods, family=6))
    turns = {pod.address6: 2 for pod in world.pods}
    assert await servers(world, world.pods[0], 6, address="fd00:96::10") == turns
    await carry(kernel, made, of(WEB))
    assert await world.ask(world.outside, "fd00:96::10", 80) == "REJECT"


async def test_what_the_engine_must_balance_is_redirected_to_it(world, kernel):
    listener = table.Listener(
        id="transparent-http", protocol="http", transparent=True, sockets=(f"tcp:{worlds.GATEWAY}:15006",)
    )
    l7 = table.Backend(id=WEB, protocol="h2c", virtual=(table.Virtual(address=VIP, port=80),))
    made = table.Structure(backends={WEB: l7}, listeners={listener.id: listener})
    assert await carry(kernel, made, of(WEB, *world.pods)) == ()
    with socket.create_server((worlds.GATEWAY, 15006)) as engine:
        for space in (world.pods[0], world.node, world.outside):
            client = await asyncio.to_thread(space.call, socket.create_connection, (VIP, 80))
            connection, seen = await asyncio.to_thread(engine.accept)
            wanted = connection.getsockopt(socket.SOL_IP, 80, 16)
            assert (socket.inet_ntoa(wanted[4:8]), int.from_bytes(wanted[2:4], "big")) == (VIP, 80)
            if space is world.pods[0]:
                assert seen[0] == space.address
            client.close()
            connection.close()
    assert f"dnat ip to {worlds.GATEWAY}:15006" in world.node.exec("nft list ruleset")
    assert '"port": 15006' in world.node.exec("nft -j list ruleset")  # with two bytes too many it aborts
    (nack,) = await carry(kernel, structure(l7), of(WEB, *world.pods))
    assert "no transparent http Listener" in nack.message


async def test_two_services_at_one_address_are_one_and_a_nack(world, kernel):
    (nack,) = await carry(kernel, structure(backend(), backend("z/other:80")), of(WEB, world.pods[0]))
    assert (nack.object, nack.message) == ("backend/z/other:80", f"{VIP}:tcp:80 belongs to {WEB}")


async def test_the_table_can_be_read_with_nft_and_is_gone_after_a_purge(world, kernel):
    other = "table ip other {\n chain c {\n type filter hook forward priority 0; policy accept;\n }\n}\n"
    subprocess.run(["nft", "-f", "-"], input=other, text=True, check=True)
    before = world.node.exec("nft list table ip other")
    await carry(kernel, structure(backend()), of(WEB, *world.pods))
    assert "services4" in world.node.exec("nft list ruleset")
    await carry(kernel, table.Structure())
    assert "chain b1" not in world.node.exec("nft list ruleset")
    nftables.delete_table("fairlead-test")
    assert world.node.exec("nft list ruleset") == before


async def test_a_client_on_one_udp_socket_is_answered_after_its_pod_left(world, kernel):
    made = structure(backend(protocol="udp"))
    await carry(kernel, made, of(WEB, world.pods[0]))

    def socket_to_service():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(1)
        client.connect((VIP, 80))
        return client

    client = await asyncio.to_thread(world.pods[1].call, socket_to_service)

    def asked():
        client.send(b"?")
        return client.recv(100).decode().split()[0]

    assert await asyncio.to_thread(asked) == world.pods[0].address
    await carry(kernel, made, of(WEB, world.pods[2]))
    assert await asyncio.to_thread(asked) == world.pods[2].address
    client.close()
