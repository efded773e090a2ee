"""One queue and one task per object key, as kopf has it: keys never wait for each other, a key never runs twice at
once.

Promises: a key added while it is worked on is worked on once more; a task without work ends, so an idle controller
has none; a failure is retried for that key alone after 5 ms, doubling to 60 s, with jitter; a failure that is not the
API's (a bug) is also reported to `on_failure`; `failures` shows what is failing now. At most `concurrency` keys run
at a time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.client import errors

FIRST_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 60.0
QUIET_ATTEMPTS = 3

log = logs.get(__name__)
Work = Callable[[str], Awaitable[float | None]]


class Queue:
    """Runs `work(key)` for every key added; `work` returns after how many seconds the key is to be worked on again."""

    def __init__(
        self,
        name: str,
        work: Work,
        *,
        clock: clocks.Clock,
        rng: random.Random,
        on_failure: Callable[[str, BaseException], None],
        concurrency: int = 16,
    ) -> None:
        self.name = name
        self.failures: dict[str, str] = {}
        self._work = work
        self._clock = clock
        self._rng = rng
        self._on_failure = on_failure
        self._slots = asyncio.Semaphore(concurrency)
        self._nursery = tasks.Nursery(name, on_failure=on_failure)
        self._dirty: set[str] = set()
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[str, int] = {}
        self._timers: dict[str, tuple[float, asyncio.Task[None]]] = {}
        self._closed = False

    def add(self, key: str) -> None:
        """Wants the key worked on now."""
        if self._closed:
            return
        self._dirty.add(key)
        if key not in self._workers:
            self._workers[key] = self._nursery.start(self._worker(key), name=key)

    def add_after(self, key: str, seconds: float) -> None:
        """Wants the key worked on in that many seconds, or earlier if that was asked for before."""
        due = self._clock.monotonic() + seconds
        known = self._timers.get(key)
        if self._closed or (known is not None and known[0] <= due):
            return
        if known is not None:
            known[1].cancel()
        self._timers[key] = (due, self._nursery.start(self._timer(key, seconds), name=f"{key} later"))

    @property
    def idle(self) -> bool:
        """No key is being worked on."""
        return not self._workers

    async def close(self) -> None:
        """Ends everything; what was not finished is found again by the next start."""
        self._closed = True
        await self._nursery.close()

    async def _timer(self, key: str, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timers.pop(key, None)
        self.add(key)

    async def _worker(self, key: str) -> None:
        try:
            while key in self._dirty:
                async with self._slots:
                    self._dirty.discard(key)
                    await self._attempt(key)
        finally:
            self._workers.pop(key, None)

    async def _attempt(self, key: str) -> None:
        try:
            again_seconds = await self._work(key)
        except errors.ApiError as error:
            self._retry(key, str(error), quiet=error.conflict or error.not_found)
        except Exception as error:
            log.error("reconcile failed", error=error, controller=self.name, key=key)
            self._retry(key, repr(error), quiet=False)
            self._on_failure(f"{self.name} {key}", error)
        else:
            self._attempts.pop(key, None)
            self.failures.pop(key, None)
            if again_seconds is not None:
                self.add_after(key, again_seconds)

    def _retry(self, key: str, problem: str, *, quiet: bool) -> None:
        attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        if not quiet or attempt > QUIET_ATTEMPTS:  # quiet: somebody else wrote or deleted first, the watch will tell
            self.failures[key] = problem
            (log.warning if attempt == 1 else log.debug)("retrying", controller=self.name, key=key, problem=problem)
        delay = min(FIRST_DELAY_SECONDS * 2 ** min(attempt - 1, 20), MAX_DELAY_SECONDS)
        self.add_after(key, delay * self._rng.uniform(0.8, 1.2))

    def __repr__(self) -> str:
        counts = f"{len(self._workers)} working, {len(self._timers)} later, {len(self.failures)} failing"
        return f"<Queue {self.name}: {counts}>"
