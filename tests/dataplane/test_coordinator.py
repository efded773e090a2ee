"""Several planes as one, and the gate through which an address leaves."""

import asyncio

import msgspec
import pytest

from fairlead.base import clock
from fairlead.dataplane import coordinator
from fairlead.dataplane.plane import Nack
from fairlead.routing import table
from fairlead.testing import planes
from fairlead.testing.planes import WEB

A, B = "10.0.0.1", "10.0.0.2"


class Impatient(clock.SystemClock):
    """Two seconds pass in twenty milliseconds."""

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / 100)


@pytest.fixture
async def both():
    return planes.FakePlane("engine"), planes.FakePlane("kernel")


@pytest.fixture
async def gate(both, failures):
    silent = []
    made = coordinator.Coordinator(
        both,
        clock=Impatient(),
        on_failure=lambda *failure: failures.append(failure),
        on_silent=lambda *s: silent.append(s),
    )
    made.silent = silent
    structure, endpoints = planes.example(A, B)
    await made.apply(structure)
    await made.apply_endpoints(endpoints)
    yield made
    await made.close()
    assert all(plane.closed for plane in both)


async def test_every_plane_gets_the_table(both, gate):
    for plane in both:
        assert plane.addresses(WEB) == [f"{A}:8080", f"{B}:8080"]


async def test_shut_doors_refuse_newcomers_and_keep_who_is_served(both, gate):
    await gate.shut()
    for plane in both:
        assert not plane.structure.listeners
        assert plane.structure.shut == "all"
        assert plane.addresses(WEB) == [f"{A}:8080", f"{B}:8080"]


def _with_doors(structure):
    doors = (
        table.Listener(id="edge-http", protocol="http"),
        table.Listener(id="service/default/web/80", protocol="tcp"),
        table.Listener(id="service/default/web/80/node", protocol="tcp"),
        table.Listener(id="dns", protocol="dns"),
    )
    return msgspec.structs.replace(structure, listeners={one.id: one for one in doors})


async def test_who_came_from_outside_is_seen_out_while_pods_still_reach_each_other(both, gate):
    structure = _with_doors(gate.structure)
    await gate.apply(structure)
    both[0].receive(1)
    leaving = asyncio.create_task(gate.see_out(deadline_seconds=500))
    while not both[0].leaving:
        await asyncio.sleep(0)
    await gate.apply(structure)  # what the cluster's objects say opens nothing again
    for plane in both:
        assert set(plane.structure.listeners) == {"service/default/web/80", "dns"}
        assert plane.structure.shut == "outside"
        assert plane.answer("10.96.0.1", 80).verdict == "ENDPOINTS"
    assert both[0].leaving == ("edge-http", "service/default/web/80/node")
    assert not leaving.done()
    both[0].receive(0)
    await leaving
    await gate.shut()
    assert not both[0].structure.listeners


async def test_who_does_not_go_is_waited_for_no_longer_than_the_deadline(both, gate):
    both[0].receive(1)
    both[1].hold_acks()
    await gate.see_out(deadline_seconds=4)


async def test_nacks_of_all_planes_are_told_once(both, gate):
    both[0].nacks = both[1].nacks = (Nack("backend/x", "", "no"),)
    assert await gate.acked(await gate.apply(gate.structure)) == (Nack("backend/x", "", "no"),)


async def test_a_drain_takes_the_address_out_at_once_whatever_the_slices_say(both, gate):
    for plane in both:
        plane.connect(A)
    drain = asyncio.create_task(gate.drain(A, deadline_seconds=500))
    while not all(plane.draining for plane in both):
        await asyncio.sleep(0)
    for plane in both:
        assert plane.addresses(WEB) == [f"{A}:8080/draining", f"{B}:8080"]
    await gate.apply_endpoints(planes.example(A, B)[1])  # a slice that does not know yet
    assert both[0].addresses(WEB) == [f"{A}:8080/draining", f"{B}:8080"]
    both[0].disconnect(A)
    assert not drain.done()
    both[1].disconnect(A)
    assert (await drain).left == 0


async def test_a_plane_that_does_not_ack_no_longer_blocks(both, gate):
    both[1].hold_acks()
    outcome = await gate.drain(A, deadline_seconds=500)
    assert outcome.silent == ("kernel",)
    assert gate.silent == [("kernel", A)]


async def test_the_deadline_ends_a_drain_and_says_what_is_left(both, gate):
    both[0].connect(A, 3)
    outcome = await gate.drain(A, deadline_seconds=1)
    assert (outcome.left, outcome.silent) == (3, ())
    assert both[0].addresses(WEB)[0] == f"{A}:8080/draining"  # it stays out until it is released


async def test_an_address_of_no_service_is_drained_at_once(gate):
    assert (await gate.drain("10.9.9.9", deadline_seconds=500)).left == 0


async def test_a_late_slice_does_not_bring_a_released_pod_back(both, gate):
    await gate.drain(A, deadline_seconds=1)
    gate.release(A)
    await gate.apply_endpoints(planes.example(A, B)[1])
    assert both[0].addresses(WEB) == [f"{B}:8080"]
    assert gate.held_out() == {A: "its pod is gone"}


async def test_another_pod_may_have_the_address(both, gate):
    await gate.drain(A, deadline_seconds=1)
    gate.release(A)
    new = table.Endpoint(address=A, port=8080, name="default/another")
    await gate.apply_endpoints([table.BackendEndpoints(backend=WEB, endpoints=(new,))])
    assert both[0].addresses(WEB) == [f"{A}:8080"]
    assert gate.held_out() == {}


async def test_a_release_without_a_drain_is_nothing(gate):
    gate.release("10.9.9.9")


async def test_backends_that_go_take_their_endpoints_along(both, gate):
    await gate.apply(table.Structure())
    assert both[0].endpoints == {}
    assert (await gate.drain(A, deadline_seconds=1)).left == 0
