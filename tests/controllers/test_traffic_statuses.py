"""Statuses are written after what has changed: never between a change and the traffic, and only where they differ."""

import asyncio
import random

import pytest

from fairlead.api import kinds
from fairlead.base import clock
from fairlead.client import informers
from fairlead.controllers import traffic_statuses
from fairlead.routing import translate
from fairlead.testing import apiserver


class World:
    """An API server with Ingresses, and a writer of their statuses."""

    def __init__(self):
        self.failures = []
        server = apiserver.FakeApiServer(clock=clock.SystemClock())
        self.client = server.client()
        shared = informers.Informers(
            self.client,
            clock=clock.SystemClock(),
            rng=random.Random(1),
            on_failure=lambda *failure: self.failures.append(failure),
        )
        self.informers, self.ingresses = shared, shared.of(kinds.INGRESS)
        self.calm = asyncio.Event()
        self.statuses = traffic_statuses.Statuses(
            self.client, {kinds.INGRESS: self.ingresses}, clock=clock.SystemClock(), calm=self.calm
        )

    async def start(self, count):
        for number in range(count):
            ingress = {"metadata": {"namespace": "default", "name": f"i{number}"}, "spec": {}}
            await self.client.create(kinds.INGRESS, ingress, namespace="default")
        self.informers.start()
        await self.ingresses.wait_synced()
        self.running = asyncio.ensure_future(self.statuses.run())

    async def close(self):
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.informers.close()

    async def written(self):
        """The addresses that the objects' statuses have."""
        found = (await self.client.list(kinds.INGRESS)).items
        return [one.get("status", {}).get("loadBalancer") for one in found if one.get("status")]


def wanted(count, address="127.0.0.1"):
    ingress = {"loadBalancer": {"ingress": [{"ip": address}]}}
    return tuple(translate.Status("Ingress", "default", f"i{number}", ingress) for number in range(count))


@pytest.fixture
async def world():
    made = World()
    await made.start(20)
    yield made
    await made.close()
    assert not made.failures


async def turns(count=50):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nothing_is_written_while_a_change_is_on_its_way(world):
    world.statuses.want(wanted(20))
    await turns()
    assert await world.written() == []
    world.calm.set()
    await world.statuses.idle.wait()
    assert len(await world.written()) == 20


async def test_a_change_stops_the_writing_of_many_after_the_one_that_is_under_way(world):
    world.calm.set()
    world.statuses.want(wanted(20))
    while not await world.written():
        await asyncio.sleep(0)
    world.calm.clear()
    await turns()
    so_far = len(await world.written())
    assert 0 < so_far < 20
    await turns()
    assert len(await world.written()) == so_far
    world.calm.set()
    await world.statuses.idle.wait()
    assert len(await world.written()) == 20


async def test_the_newest_status_counts_and_what_is_right_is_not_looked_at_again(world):
    world.statuses.want(wanted(20))
    newest = wanted(20, "192.0.2.1")
    world.statuses.want(newest)
    world.calm.set()
    await world.statuses.idle.wait()
    assert await world.written() == [{"ingress": [{"ip": "192.0.2.1"}]}] * 20
    world.calm.clear()
    world.statuses.want(newest)  # the same objects: nothing to wait for
    assert world.statuses.idle.is_set()


async def test_what_somebody_else_wrote_is_written_again_with_the_next_translation(world):
    world.calm.set()
    statuses = wanted(20)
    world.statuses.want(statuses)
    await world.statuses.idle.wait()
    other = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
    await world.client.patch(kinds.INGRESS, "i7", other, namespace="default", subresource="status")
    while world.ingresses.cache.get("default/i7")["status"] != other["status"]:
        await asyncio.sleep(0)
    world.statuses.touched(kinds.INGRESS, "default/i7")
    world.statuses.want(statuses)
    await world.statuses.idle.wait()
    assert await world.written() == [{"ingress": [{"ip": "127.0.0.1"}]}] * 20
