"""Time that a test moves: `FakeClock` is a `base.clock.Clock` in which nothing passes until `advance` says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """Sleepers wake in the order of their deadlines when the test advances past them."""

    def __init__(self, *, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._elapsed

    def now(self) -> float:
        return self._now + self._elapsed

    def jump(self, seconds: float) -> None:
        """The wall clock is set."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        await future

    @property
    def next_deadline(self) -> float | None:
        """Seconds until the first sleeper wakes, None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Moves time on; whoever sleeps less long wakes on the way, and gets to run, in order."""
        end = self._elapsed + seconds
        await settle()
        while (step := self.next_deadline) is not None and self._elapsed + step <= end:
            self._elapsed = max(self._elapsed, self._sleepers[0][0])
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)
            await settle()
        self._elapsed = end


async def settle(rounds: int = 50) -> None:
    """Lets every task that can run without waiting for time or sockets do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)
