"""Tasks that are kept are begun again when they fail, and every failure is told."""

import asyncio

import pytest

from fairlead.base import tasks
from fairlead.testing import clock


class Bench:
    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.told: list[str] = []
        self.nursery = tasks.Nursery("room", on_failure=lambda where, error: self.told.append(f"{where}: {error}"))
        self.begun: list[float] = []
        self.fails = True

    async def work(self) -> None:
        self.begun.append(self.clock.monotonic())
        if self.fails:
            raise KeyError("x")
        await asyncio.Event().wait()


@pytest.fixture
async def bench():
    made = Bench()
    yield made
    await made.nursery.close()


async def test_a_kept_task_that_fails_is_told_and_begun_again_ever_later(bench: Bench) -> None:
    bench.nursery.keep(bench.work, name="work", clock=bench.clock)
    await bench.clock.advance(100.0)
    pauses = [round(after - before, 3) for before, after in zip(bench.begun, bench.begun[1:], strict=False)]
    assert pauses[:9] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]
    assert max(pauses) == tasks.LONGEST_PAUSE_SECONDS
    assert bench.told == ["room/work: 'x'"] * len(bench.begun)


async def test_one_that_worked_for_long_begins_again_at_once(bench: Bench) -> None:
    async def work() -> None:
        bench.begun.append(bench.clock.monotonic())
        await bench.clock.sleep(0.0 if len(bench.begun) < 5 else 60.0)
        raise OSError("no space left")

    bench.nursery.keep(work, name="work", clock=bench.clock)
    await bench.clock.advance(70.0)
    assert bench.begun[5] - bench.begun[4] == pytest.approx(60.1)


async def test_one_that_returns_has_ended(bench: Bench) -> None:
    async def work() -> None:
        bench.begun.append(bench.clock.monotonic())

    await bench.nursery.keep(work, name="work", clock=bench.clock)
    assert (len(bench.begun), bench.told) == (1, [])


async def test_closing_ends_it_while_it_pauses(bench: Bench) -> None:
    task = bench.nursery.keep(bench.work, name="work", clock=bench.clock)
    await clock.settle()
    await bench.nursery.close()
    assert task.cancelled()
