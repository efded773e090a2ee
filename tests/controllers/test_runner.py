"""A controller never decides on a view older than its own writes."""

import asyncio
import random
from typing import Any

from fairlead.api import kinds
from fairlead.client import exchange, informers
from fairlead.controllers import context, writes
from fairlead.testing import apiserver, clock

CM = kinds.CONFIG_MAP


class Counter:
    """A toy controller: wants three ConfigMaps, names them itself by generateName."""

    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.server = apiserver.FakeApiServer(clock=self.clock)
        self.failures: list[str] = []
        shared = informers.Informers(
            self.server.client(), clock=self.clock, rng=random.Random(1), on_failure=self.failed
        )
        self.shared = shared
        given = context.Context(self.server.client, shared, self.clock, random.Random(1), self.failed)
        self.maps = shared.of(CM)
        self.decided = 0
        self.wanted = 3
        self.runner = given.runner("counter", self.decide, self.maps)
        self.maps.add_handler(lambda change: self.runner.add("all"))

    def failed(self, name: str, error: BaseException) -> None:
        self.failures.append(name)

    def decide(self, key: str) -> writes.Decision:
        self.decided += 1
        found = self.maps.cache.list()
        missing = self.wanted - len(found)
        made = writes.Create(CM, {"metadata": {"generateName": "c-", "namespace": "default"}})
        if missing > 0:
            return writes.Decision((writes.Together((made,) * missing),))
        return writes.Decision((writes.Together(tuple(writes.delete(CM, obj) for obj in found[: -missing or 0])),))

    async def count(self) -> int:
        return len((await self.server.client().list(CM)).items)


async def test_a_stale_cache_makes_nothing_twice_and_deletes_nothing_twice() -> None:
    counter = Counter()
    counter.shared.start()
    await counter.shared.wait_synced()
    counter.server.fail = lambda request: exchange.Response(500) if ("watch", "true") in request.query else None
    counter.server.store.end_watches()
    await clock.settle()
    for _ in range(5):  # the cache says "nothing there" all the time
        counter.runner.add("all")
        await clock.settle()
    assert await counter.count() == 3
    assert counter.decided == 1
    counter.server.fail = lambda request: None
    await counter.clock.advance(5)
    assert len(counter.maps.cache) == 3
    counter.server.fail = lambda request: exchange.Response(500) if ("watch", "true") in request.query else None
    counter.server.store.end_watches()
    await clock.settle()
    counter.wanted = 1
    for _ in range(5):
        counter.runner.add("all")
        await clock.settle()
    assert await counter.count() == 1
    await counter.runner.close()
    await counter.shared.close()
    assert counter.failures == []


async def test_nothing_is_decided_before_every_list_is_there() -> None:
    counter = Counter()
    counter.runner.add("all")
    await clock.settle()
    assert counter.decided == 0
    counter.shared.start()
    await counter.clock.advance(1)
    assert await counter.count() == 3
    await counter.runner.close()
    await counter.shared.close()


async def test_a_controller_knows_its_own_last_write_but_not_while_it_waits_to_see_it() -> None:
    counter = Counter()
    counter.wanted = 1
    counter.shared.start()
    await counter.shared.wait_synced()
    counter.server.fail = lambda request: exchange.Response(500) if ("watch", "true") in request.query else None
    counter.server.store.end_watches()
    counter.runner.add("all")
    await clock.settle()
    (made,) = (await counter.server.client().list(CM)).items
    assert counter.runner.wrote("all", CM, made)
    changed = {**made, "metadata": {**made["metadata"], "resourceVersion": "999"}}
    assert not counter.runner.wrote("all", CM, changed)
    assert not counter.runner.wrote("other", CM, made)
    counter.runner.add("all")
    await clock.settle()
    assert not counter.runner.wrote("all", CM, made)  # the key waits for the news of it
    await counter.runner.close()
    await counter.shared.close()


async def test_a_refusal_costs_one_write_not_all_of_them() -> None:
    counter = Counter()
    counter.wanted = 100
    tries: list[Any] = []

    def refuse(request: exchange.Request) -> exchange.Response | None:
        if request.method != "POST":
            return None
        tries.append(request)
        return exchange.Response(403, body=b"quota")

    counter.server.fail = refuse
    counter.shared.start()
    counter.runner.add("all")
    await clock.settle()
    assert len(tries) == 1
    counter.server.fail = lambda request: None
    await counter.clock.advance(5)
    assert await counter.count() == 100
    await counter.runner.close()
    await counter.shared.close()
    await asyncio.sleep(0)
