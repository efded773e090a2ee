"""The generators account for every request that was due, and one that falls behind shows it."""

import argparse
import asyncio
import time

import msgspec
import pytest

from bench import lab, load

pytestmark = pytest.mark.system  # builds the load tools


@pytest.fixture
def room():
    options = argparse.Namespace(quick=True, rounds=0, seconds=0.0, keep=False)
    with lab.opened(options) as opened:
        yield opened


async def test_the_open_loop_counts_every_request_that_was_due(room):
    backend = await load.backend(room, load.BackendSpec(servers=2))
    target = load.Target(addresses=backend.addresses)
    seen = await load.open_loop(room, load.Open(target=target, rate=500, seconds=1, connections=8))
    assert (seen.due, seen.answered, seen.failed) == (500, 500, 0)
    assert {name: pod.answers for name, pod in seen.pods.items()} == {"b0": 250, "b1": 250}


async def test_a_recorded_loop_tells_of_every_answer_when_it_was_due(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    spec = load.Open(target=load.Target(addresses=backend.addresses), rate=200, seconds=0.5)
    seen = await load.open_loop(room, msgspec.structs.replace(spec, record=str(room.path("answers") / "all")))
    due = sorted(at for at, _ in seen.answers)
    assert len(due) == seen.answered == 100
    assert 0.49 < due[-1] - due[0] < 0.5 and 0 <= time.time() - due[-1] < 60
    assert abs(max(ms for _, ms in seen.answers) - seen.latency_ms.max) < 0.001
    assert (await load.open_loop(room, spec)).answers == []


async def test_poisson_arrivals_are_the_same_for_the_same_seed(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    target = load.Target(addresses=backend.addresses)
    spec = load.Open(target=target, rate=300, seconds=1, poisson=True, seed=4)
    assert (await load.open_loop(room, spec)).due == (await load.open_loop(room, spec)).due


async def test_a_server_slower_than_due_shows_in_the_latency_although_each_answer_takes_20_ms(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    target = load.Target(addresses=backend.addresses, paths=("/slow?ms=20",))
    seen = await load.open_loop(room, load.Open(target=target, rate=100, seconds=1, connections=1))
    assert seen.due == seen.answered == 100
    assert seen.latency_ms.max > 900  # 100 requests of 20 ms each, one at a time, all due within a second
    assert seen.late_ms.max > 900  # and they were late because no connection was free


async def test_requests_that_are_never_answered_fail(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    target = load.Target(addresses=backend.addresses, paths=("/slow?ms=60000",), timeout_seconds=0.2)
    seen = await load.open_loop(room, load.Open(target=target, rate=20, seconds=0.5, connections=2))
    assert (seen.due, seen.answered, seen.failed) == (10, 0, 10)
    assert set(seen.failures) <= {"timeout", "unanswered"}


async def test_a_refused_connection_fails_its_request_and_is_not_retried(room):
    target = load.Target(addresses=(f"127.0.0.1:{lab.free_port()}",), new_connections=True)
    seen = await load.open_loop(room, load.Open(target=target, rate=50, seconds=0.4, connections=4))
    assert (seen.due, seen.failed, seen.failures) == (20, 20, {"connect": 20})
    assert seen.connections_opened == 20


async def test_a_new_connection_for_each_request(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    target = load.Target(addresses=backend.addresses, new_connections=True)
    seen = await load.closed(room, load.Closed(target=target, connections=4, seconds=5, requests=100))
    assert (seen.answered, seen.connections_opened) == (100, 100)


async def test_costs_queue_at_a_simulated_server(room):
    backend = await load.backend(room, load.BackendSpec(servers=1, workers=2))
    target = load.Target(addresses=backend.addresses, paths=("/cost?us=50000",))
    seen = await load.closed(room, load.Closed(target=target, connections=4, seconds=5, requests=4))
    assert seen.latency_ms.p50 < 60 < 99 < seen.latency_ms.max < 150


async def test_held_connections_that_speak_are_all_heard(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    target = load.Target(addresses=backend.addresses)
    spec = load.Hold(target=target, connections=20, seconds=1, upgrade=True, period_seconds=0.1)
    held = await load.start(room, spec).held()
    assert (held.opened, held.closed, held.failed) == (20, 0, 0)
    assert held.said == held.heard > 100


async def test_large_bodies_are_counted_to_the_byte(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    target = load.Target(addresses=backend.addresses, paths=("/bytes?n=1000000",), body_bytes=5000, method="POST")
    seen = await load.closed(room, load.Closed(target=target, connections=2, seconds=5, requests=6))
    assert (seen.answered, seen.body_bytes) == (6, 6_000_000)


async def test_enough_ends_the_open_loop_and_every_request_due_by_then_is_counted(room):
    backend = await load.backend(room, load.BackendSpec(servers=1))
    target = load.Target(addresses=backend.addresses, paths=("/slow?ms=300",))
    running = load.start(room, load.Open(target=target, rate=100, seconds=3600, connections=64))
    await asyncio.sleep(1.0)
    running.enough()
    seen = await running.outcome()
    assert 80 <= seen.due == seen.answered <= 110
    assert seen.seconds < 3
