"""Garbage is found in idle moments, and nothing that lives is looked at while there is work."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from fairlead.base import garbage


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


class Clock:
    """Each sleep ends when the test says so."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Semaphore(0)

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self._go.acquire()

    def go(self) -> None:
        self._go.release()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_was_frozen_and_is_garbage_since_is_found_by_the_next_look() -> None:
    ring = Ring()
    gone = weakref.ref(ring)
    garbage.everything()
    del ring
    gc.collect()
    assert gone() is not None
    garbage.everything()
    assert gone() is None


def test_garbage_that_grew_old_during_work_goes_without_a_look_at_everything() -> None:
    garbage.calm()
    garbage.everything()
    looked = gc.get_stats()[2]["collections"]
    rings = [weakref.ref(Ring()) for _ in range(garbage.YOUNG_OBJECTS * garbage.YOUNG_TURNS)]
    assert sum(one() is not None for one in rings) <= 2 * garbage.YOUNG_OBJECTS
    assert gc.get_stats()[2]["collections"] == looked


async def test_an_idle_process_is_tidied_once_and_again_only_when_objects_grew_old() -> None:
    clock = Clock()
    gc.disable()
    task = asyncio.create_task(garbage.tidy(clock))
    try:
        assert await clock.asked.get() == garbage.LOOK_SECONDS
        clock.go()
        assert await clock.asked.get() == garbage.REST_SECONDS
        clock.go()
        for _ in range(2):
            assert await clock.asked.get() == garbage.LOOK_SECONDS
            clock.go()
        assert await clock.asked.get() == garbage.LOOK_SECONDS
        gc.collect(1)
        clock.go()
        assert await clock.asked.get() == garbage.REST_SECONDS
    finally:
        gc.enable()
        task.cancel()
