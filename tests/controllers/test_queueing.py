"""One queue and one task per key."""

import asyncio
import random
from collections.abc import Callable

import pytest

from fairlead.client import errors
from fairlead.controllers import queueing
from fairlead.testing import clock


class Bench:
    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.worked: list[str] = []
        self.failed: list[str] = []
        self.act: Callable[[str], float | None] = lambda key: None
        self.gate: asyncio.Event | None = None
        self.running: dict[str, int] = {}
        self.most = 0
        self.queue = queueing.Queue(
            "test",
            self.work,
            clock=self.clock,
            rng=random.Random(1),
            on_failure=lambda name, error: self.failed.append(name),
            concurrency=4,
        )

    async def work(self, key: str) -> float | None:
        assert self.running.get(key, 0) == 0, "a key never runs twice at once"
        self.running[key] = 1
        self.most = max(self.most, sum(self.running.values()))
        try:
            if self.gate is not None:
                await self.gate.wait()
            self.worked.append(key)
            return self.act(key)
        finally:
            self.running[key] = 0


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_key_added_many_times_before_it_runs_is_one_piece_of_work(bench: Bench) -> None:
    for _ in range(10):
        bench.queue.add("a")
    await clock.settle()
    assert bench.worked == ["a"]
    assert bench.queue.idle


async def test_a_key_added_while_it_runs_runs_once_more(bench: Bench) -> None:
    bench.gate = asyncio.Event()
    bench.queue.add("a")
    await clock.settle()
    bench.queue.add("a")
    bench.queue.add("a")
    bench.gate.set()
    await clock.settle()
    assert bench.worked == ["a", "a"]


async def test_keys_do_not_wait_for_each_other_up_to_the_limit(bench: Bench) -> None:
    bench.gate = asyncio.Event()
    for number in range(10):
        bench.queue.add(str(number))
    await clock.settle()
    assert bench.most == 4
    bench.gate.set()
    await clock.settle()
    assert sorted(bench.worked) == [str(number) for number in range(10)]


async def test_a_conflict_is_retried_soon_and_then_later(bench: Bench) -> None:
    def refuse(key: str) -> None:
        raise errors.ApiError({"code": 409, "reason": "Conflict", "message": "written"})

    bench.act = refuse
    bench.queue.add("a")
    await bench.clock.advance(0.1)
    assert 4 <= len(bench.worked) <= 6
    assert bench.queue.failures == {"a": "written"}
    assert bench.failed == []
    await bench.clock.advance(1000)
    assert len(bench.worked) < 40
    bench.act = lambda key: None
    await bench.clock.advance(100)
    assert bench.queue.failures == {}


async def test_a_bug_is_reported_and_retried(bench: Bench) -> None:
    def bug(key: str) -> None:
        raise ValueError("a bug")

    bench.act = bug
    bench.queue.add("a")
    bench.queue.add("b")
    await clock.settle()
    assert bench.failed == ["test a", "test b"]
    assert "a bug" in bench.queue.failures["a"]


async def test_looks_again_when_asked_to_and_the_earlier_time_wins(bench: Bench) -> None:
    bench.queue.add_after("a", 10)
    bench.queue.add_after("a", 5)
    bench.queue.add_after("a", 20)
    await bench.clock.advance(4.9)
    assert bench.worked == []
    await bench.clock.advance(30)
    assert bench.worked == ["a"]


async def test_nothing_runs_after_close(bench: Bench) -> None:
    bench.queue.add_after("a", 1)
    await bench.queue.close()
    bench.queue.add("b")
    await bench.clock.advance(10)
    assert bench.worked == []
