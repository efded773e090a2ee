"""An informer's cache follows the server through every interruption, and its handlers see each change once."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from fairlead.api import kinds
from fairlead.client import cache, exchange, informer, informers
from fairlead.testing import apiserver, clock

CM = kinds.CONFIG_MAP


class Bench:
    """A server, an informer and what its handlers heard."""

    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.server = apiserver.FakeApiServer(clock=self.clock)
        self.client = self.server.client()
        self.failures: list[BaseException] = []
        self.heard: list[tuple[str, str]] = []
        self.informer = informer.Informer(
            self.client,
            CM,
            clock=self.clock,
            rng=random.Random(1),
            on_failure=lambda name, error: self.failures.append(error),
        )
        self.informer.add_handler(lambda change: self.heard.append((change.type, change.key)))

    async def create(self, name: str, **data: str) -> None:
        await self.client.create(CM, {"metadata": {"name": name}, "data": data}, namespace="default")

    def names(self) -> list[str]:
        return sorted(self.informer.cache.keys())

    def break_watches(self) -> None:
        self.server.fail = lambda request: exchange.Response(500) if ("watch", "true") in request.query else None
        self.server.store.end_watches()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.informer.run())
    await asyncio.wait_for(bench.informer.wait_synced(), 5)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_lists_then_follows(bench: Bench) -> None:
    await bench.create("a")
    async with running(bench):
        assert bench.names() == ["default/a"]
        await bench.create("b")
        await bench.client.patch(CM, "a", {"data": {"x": "1"}}, namespace="default")
        await bench.client.delete(CM, "b", namespace="default")
        await clock.settle()
    assert bench.heard == [
        ("added", "default/a"),
        ("added", "default/b"),
        ("modified", "default/a"),
        ("deleted", "default/b"),
    ]
    found = bench.informer.cache.get("default/a")
    assert found is not None and found["data"] == {"x": "1"}


async def test_resumes_where_the_watch_ended_without_a_new_list(bench: Bench) -> None:
    lists = []

    def count(request: exchange.Request) -> None:
        if request.method == "GET" and ("watch", "true") not in request.query:
            lists.append(request.path)

    bench.server.fail = count
    async with running(bench):
        await bench.create("a")
        await clock.settle()
        bench.server.store.end_watches()
        await bench.create("b")
        await bench.clock.advance(1)
        assert bench.names() == ["default/a", "default/b"]
    assert len(lists) == 1
    assert bench.heard == [("added", "default/a"), ("added", "default/b")]


async def test_a_version_too_old_leads_to_a_new_list_told_as_differences(bench: Bench) -> None:
    for name in ("kept", "changed", "gone"):
        await bench.create(name)
    async with running(bench):
        bench.heard.clear()
        bench.break_watches()
        await clock.settle()
        await bench.client.delete(CM, "gone", namespace="default")
        await bench.client.patch(CM, "changed", {"data": {"x": "1"}}, namespace="default")
        await bench.create("new")
        bench.server.store.compact()
        bench.server.fail = lambda request: None
        await bench.clock.advance(5)
        assert bench.names() == ["default/changed", "default/kept", "default/new"]
    assert sorted(bench.heard) == [
        ("added", "default/new"),
        ("deleted", "default/gone"),
        ("modified", "default/changed"),
    ]


async def test_an_object_made_anew_while_nobody_watched_is_two_changes(bench: Bench) -> None:
    await bench.create("a")
    async with running(bench):
        bench.heard.clear()
        bench.break_watches()
        await clock.settle()
        await bench.client.delete(CM, "a", namespace="default")
        await bench.create("a")
        bench.server.store.compact()
        bench.server.fail = lambda request: None
        await bench.clock.advance(5)
    assert bench.heard == [("deleted", "default/a"), ("added", "default/a")]


async def test_backs_off_while_the_server_fails_and_says_why(bench: Bench) -> None:
    tries = []

    def refuse(request: exchange.Request) -> exchange.Response:
        tries.append(request.path)
        return exchange.Response(503, body=b"down")

    bench.server.fail = refuse
    task = asyncio.create_task(bench.informer.run())
    await bench.clock.advance(60)
    assert 8 <= len(tries) <= 14
    assert "down" in bench.informer.problem
    assert not bench.informer.synced
    bench.server.fail = lambda request: None
    await bench.clock.advance(40)
    assert bench.informer.synced
    task.cancel()


async def test_watches_that_end_at_once_do_not_spin(bench: Bench) -> None:
    tries = []

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    def end(request: exchange.Request) -> exchange.Response | None:
        if ("watch", "true") not in request.query:
            return None
        tries.append(request.path)
        return exchange.Response(200, stream=nothing())

    bench.server.fail = end
    async with running(bench):
        await bench.clock.advance(60)
    assert len(tries) < 20


async def test_a_handler_that_raises_harms_nobody_else(bench: Bench) -> None:
    def broken(change: informer.Change) -> None:
        raise ValueError("a bug")

    bench.informer.add_handler(broken)
    late: list[str] = []
    bench.informer.add_handler(lambda change: late.append(change.key))
    async with running(bench):
        await bench.create("a")
        await clock.settle()
    assert bench.heard == [("added", "default/a")]
    assert late == ["default/a"]
    assert [str(error) for error in bench.failures] == ["a bug"]


async def test_a_late_handler_is_told_of_everything_first(bench: Bench) -> None:
    await bench.create("a")
    async with running(bench):
        late: list[tuple[str, str]] = []
        bench.informer.add_handler(lambda change: late.append((change.type, change.key)))
        assert late == [("added", "default/a")]


def by_color(obj: dict[str, dict[str, str]]) -> tuple[str, ...]:
    return (obj.get("data", {}).get("color", ""),)


async def test_indexes_follow_the_objects(bench: Bench) -> None:
    bench.informer.cache.add_index("color", by_color)
    await bench.create("a", color="red")
    await bench.create("b", color="red")
    async with running(bench):
        assert len(bench.informer.cache.indexed("color", "red")) == 2
        await bench.client.patch(CM, "a", {"data": {"color": "blue"}}, namespace="default")
        await clock.settle()
        assert [cache.key_of(obj) for obj in bench.informer.cache.indexed("color", "blue")] == ["default/a"]
        await bench.client.delete(CM, "b", namespace="default")
        await clock.settle()
        assert bench.informer.cache.indexed("color", "red") == []
        assert len(bench.informer.cache.list("default")) == 1
        assert bench.informer.cache.list("other") == []


async def test_many_pages_are_one_list(bench: Bench) -> None:
    for number in range(1203):
        await bench.create(f"c{number:04}")
    async with running(bench):
        assert len(bench.informer.cache) == 1203


async def test_shared_informers_are_made_once_and_start_late_ones() -> None:
    server = apiserver.FakeApiServer(clock=clock.FakeClock())
    shared = informers.Informers(
        server.client(), clock=clock.FakeClock(), rng=random.Random(1), on_failure=lambda name, error: None
    )
    assert shared.of(CM) is shared.of(CM)
    shared.start()
    pods = shared.of(kinds.POD)
    await shared.wait_synced()
    assert pods.synced
    assert shared.problems() == []
    await shared.close()


async def test_what_a_field_selector_takes_is_a_part_of_what_is_watched_anyway() -> None:
    server = apiserver.FakeApiServer(clock=clock.FakeClock())
    client = server.client()
    shared = informers.Informers(
        client, clock=clock.FakeClock(), rng=random.Random(1), on_failure=lambda name, error: None
    )
    part = shared.of(CM, field_selector="data.on=yes")
    assert part is shared.of(CM, field_selector="data.on=yes")
    heard: list[tuple[str, str]] = []
    part.add_handler(lambda change: heard.append((change.type, change.key)))
    shared.start()
    await part.wait_synced()
    await client.create(CM, {"metadata": {"name": "a", "namespace": "n"}, "data": {"on": "yes"}}, namespace="n")
    made = await client.create(CM, {"metadata": {"name": "b", "namespace": "n"}, "data": {"on": "no"}}, namespace="n")
    for on in ("yes", "still", "yes"):
        made = await client.update(CM, {**made, "data": {"on": on}})
    await client.delete(CM, "b", namespace="n")
    while not shared.of(CM).cache.get("n/a") or shared.of(CM).cache.get("n/b"):
        await asyncio.sleep(0)
    assert heard == [
        ("added", "n/a"), ("added", "n/b"), ("deleted", "n/b"), ("added", "n/b"), ("deleted", "n/b"),
    ]  # fmt: skip
    assert [obj["metadata"]["name"] for obj in part.cache.list()] == ["a"]
    assert part.seen(made["metadata"]["resourceVersion"])
    await shared.close()
