"""The engine plane against a peer that speaks the protocol."""

import asyncio
import socket

import pytest

from fairlead.base import clock
from fairlead.dataplane import engine, wire
from fairlead.routing import table
from fairlead.testing import engine_peer, ports

WEB = "default/web:80"


def structure(*sockets, backend=WEB, **fields):
    listener = table.Listener(id="service/default/web/80", protocol="tcp", sockets=sockets, backend=backend)
    made = table.Backend(id=backend, protocol="tcp", **fields)
    return table.Structure(listeners={listener.id: listener} if sockets else {}, backends={backend: made})


def endpoints(*addresses, backend=WEB):
    return [
        table.BackendEndpoints(backend=backend, endpoints=tuple(table.Endpoint(address=a, port=80) for a in addresses))
    ]


async def settle(plane, sequence):
    async with asyncio.timeout(5):
        return await plane.acked(sequence)


async def test_a_table_is_sent_and_acked(peer, plane):
    name = f"tcp:127.0.0.1:{ports.free()}"
    await plane.apply_endpoints(endpoints("10.0.0.1"))
    ack = await settle(plane, await plane.apply(structure(name)))
    assert not ack.nacks
    assert list(peer.sockets) == [name]
    assert peer.table("listeners")["service/default/web/80"]["sockets"] == [name]
    assert peer.endpoints_of(WEB) == ["10.0.0.1:80"]


async def test_the_socket_handed_over_is_the_one_that_listens(peer, plane):
    port = ports.free()
    await settle(plane, await plane.apply(structure(f"tcp:127.0.0.1:{port}")))
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        pass


async def test_only_what_changed_is_sent(peer, plane):
    await plane.apply(structure())
    await plane.apply_endpoints(endpoints("10.0.0.1"))
    await settle(plane, await plane.apply(structure()))
    told = len(peer.received)
    await settle(plane, await plane.apply(structure()))
    await settle(plane, await plane.apply_endpoints(endpoints("10.0.0.1")))
    assert peer.received[told:] == []
    both = structure()
    both.backends["default/api:80"] = table.Backend(id="default/api:80", protocol="tcp")
    await settle(plane, await plane.apply(both))
    assert [one["id"] for one in peer.received[-1]["backends"]] == ["default/api:80"]


async def test_what_is_gone_is_removed_and_its_socket_closed(peer, plane):
    await settle(plane, await plane.apply(structure(f"tcp:127.0.0.1:{ports.free()}")))
    await settle(plane, await plane.apply(table.Structure()))
    assert (peer.table("listeners"), peer.table("backends"), peer.sockets) == ({}, {}, {})


async def test_an_endpoints_change_leaves_before_the_call_returns(peer, plane):
    await settle(plane, await plane.apply(structure()))
    await plane.apply_endpoints(endpoints("10.0.0.7"))
    await peer.until(lambda: peer.endpoints_of(WEB) == ["10.0.0.7:80"])


async def test_a_taken_port_is_a_nack_that_names_the_holder(peer, plane):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        name = f"tcp:127.0.0.1:{holder.getsockname()[1]}"
        (nack,) = (await settle(plane, await plane.apply(structure(name)))).nacks
        assert (nack.object, nack.path) == ("listener/service/default/web/80", "sockets[0]")
        assert "is taken by python" in nack.message
        assert peer.table("listeners") == {}
    await peer.until(lambda: peer.table("listeners"))  # tried again until it is free
    assert plane.nacks == ()


async def test_a_taken_port_is_not_asked_for_with_every_change(peer, plane):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        name = f"tcp:127.0.0.1:{holder.getsockname()[1]}"
        first = (await settle(plane, await plane.apply(structure(name)))).nacks
    # It is free by now; a change does not look, the next round does.
    assert (await settle(plane, await plane.apply(structure(name, algorithm="random")))).nacks == first
    await peer.until(lambda: peer.table("listeners"))
    assert plane.nacks == ()


async def test_a_listener_keeps_the_sockets_that_could_be_opened(peer, plane):
    good, bad = f"tcp:127.0.0.1:{ports.free()}", "tcp:192.0.2.1:80"
    (nack,) = (await settle(plane, await plane.apply(structure(good, bad)))).nacks
    assert "no address 192.0.2.1" in nack.message
    assert peer.table("listeners")["service/default/web/80"]["sockets"] == [good]


async def test_what_the_engine_refuses_is_a_nack_and_goes_when_it_is_mended(peer, plane):
    peer.refuse[f"backend/{WEB}"] = "algorithm maglev is not carried yet"
    (nack,) = (await settle(plane, await plane.apply(structure(algorithm="maglev")))).nacks
    assert (nack.object, nack.message) == (f"backend/{WEB}", "algorithm maglev is not carried yet")
    peer.refuse.clear()
    assert (await settle(plane, await plane.apply(structure(algorithm="random")))).nacks == ()


async def test_a_lost_connection_is_made_again_and_nothing_is_sent_twice(peer, plane):
    await plane.apply_endpoints(endpoints("10.0.0.1"))
    await settle(plane, await plane.apply(structure(f"tcp:127.0.0.1:{ports.free()}")))
    told = len(peer.received)
    peer.lose()
    await peer.until(lambda: peer.connections == 2)
    await plane.connected()
    assert [one["type"] for one in peer.received[told:]] == ["hello", "probes"]


async def test_an_adopted_engine_keeps_what_it_carries_until_it_is_told_what_it_should(peer, plane, failures):
    await plane.apply_endpoints(endpoints("10.0.0.1"))
    await settle(plane, await plane.apply(structure(f"tcp:127.0.0.1:{ports.free()}")))
    await plane.close()
    told = len(peer.received)
    again = engine.EnginePlane(
        peer.path, clock=clock.SystemClock(), on_failure=lambda *failure: failures.append(failure)
    )
    await again.start()
    await again.connected()
    assert [one["type"] for one in peer.received[told:]] == ["hello", "probes"]
    await settle(again, await again.apply(table.Structure()))
    assert not peer.table("listeners")
    await again.close()


async def test_what_changed_while_the_engine_was_away_is_sent_later(peer, plane):
    await settle(plane, await plane.apply(structure()))
    peer.lose()
    sequence = await plane.apply_endpoints(endpoints("10.0.0.9"))
    await settle(plane, sequence)
    assert peer.endpoints_of(WEB) == ["10.0.0.9:80"]


async def test_an_engine_that_forgot_everything_is_told_everything(peer, plane):
    name = f"tcp:127.0.0.1:{ports.free()}"
    await plane.apply_endpoints(endpoints("10.0.0.1"))
    await settle(plane, await plane.apply(structure(name)))
    peer.restart()
    await peer.until(lambda: peer.connections == 2 and peer.endpoints_of(WEB))
    await plane.connected()
    assert (list(peer.sockets), list(peer.table("backends"))) == ([name], [WEB])


async def test_nobody_is_acked_before_the_engine_acks(peer, plane):
    peer.hold_acks()
    waiting = asyncio.create_task(plane.acked(await plane.apply(structure())))
    await peer.until(lambda: peer.table("backends"))
    assert not waiting.done()
    peer.release_acks()
    async with asyncio.timeout(5):
        assert (await waiting).nacks == ()


async def test_a_drain_ends_when_nothing_is_in_flight(peer, plane):
    drain = asyncio.create_task(plane.drained("10.0.0.1"))
    await peer.until(lambda: list(peer.drains.values()) == ["10.0.0.1"])
    peer.finish_drain("10.0.0.1")
    async with asyncio.timeout(5):
        assert await drain == 0
    await peer.until(lambda: not peer.drains)


async def test_a_drain_survives_a_lost_engine(peer, plane):
    drain = asyncio.create_task(plane.drained("10.0.0.1"))
    await peer.until(lambda: peer.drains)
    peer.restart()
    await peer.until(lambda: list(peer.drains.values()) == ["10.0.0.1"])
    peer.finish_drain("10.0.0.1", in_flight=2)
    async with asyncio.timeout(5):
        assert await drain == 2


async def test_a_cancelled_drain_is_forgotten(peer, plane):
    drain = asyncio.create_task(plane.drained("10.0.0.1"))
    await peer.until(lambda: peer.drains)
    drain.cancel()
    await peer.until(lambda: not peer.drains)


async def test_the_kernels_addresses_are_not_told_to_the_engine(peer, plane):
    virtual = (table.Virtual(address="10.96.0.1", port=80, external=True, cluster="x"),)
    both = structure(virtual=virtual)
    both.backends["l7"] = table.Backend(id="l7", protocol="h2c", virtual=virtual)
    await settle(plane, await plane.apply(both))
    told = peer.table("backends")
    assert "virtual" not in told[WEB]
    assert told["l7"]["virtual"] == [{"address": "10.96.0.1", "port": 80}]


async def test_an_absent_engine_is_waited_for(folder, failures):
    plane = engine.EnginePlane(
        str(folder / "late.sock"), clock=clock.SystemClock(), on_failure=lambda *failure: failures.append(failure)
    )
    await plane.start()
    sequence = await plane.apply(structure())
    assert "not connected" in repr(plane)
    late = engine_peer.EnginePeer(str(folder / "late.sock"))
    late.start()
    await settle(plane, sequence)
    assert late.table("backends")
    await plane.close()
    late.close()


async def test_shutdown_waits_until_the_engine_is_gone(peer, plane):
    async with asyncio.timeout(5):
        await plane.shutdown(grace_seconds=1)
    assert peer.received[-1] == {"type": "shutdown", "grace_seconds": 1.0}


@pytest.mark.parametrize("rounds", [50])
async def test_ten_sockets_hundreds_of_listeners_keep_their_order(peer, plane, rounds):
    for number in range(rounds):
        await plane.apply_endpoints(endpoints(f"10.0.0.{number}"))
        sequence = await plane.apply(structure(slow_start_seconds=float(number)))
    await settle(plane, sequence)
    assert peer.endpoints_of(WEB) == [f"10.0.0.{rounds - 1}:80"]
    assert peer.table("backends")[WEB]["slow_start_seconds"] == rounds - 1


async def test_an_event_that_sets_off_a_bug_loses_none_that_came_with_it(peer, failures):
    def stumble(event):
        if isinstance(event, wire.Demand):
            raise KeyError("controllers")

    plane = engine.EnginePlane(
        peer.path, clock=clock.SystemClock(), on_failure=lambda *one: failures.append(one), on_event=stumble
    )
    await plane.start()
    await plane.connected()
    peer.hold_acks()
    waiting = asyncio.ensure_future(plane.acked(await plane.apply(table.Structure(backends={}))))
    await plane.apply_endpoints(())
    peer.say({"type": "demand", "backend": "default/web:80", "waiting": 1})
    peer.release_acks()
    async with asyncio.timeout(5):
        await waiting
        await plane.connected()
    await plane.close()
