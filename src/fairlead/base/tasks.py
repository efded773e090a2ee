"""Background tasks that cannot fail in silence: a Nursery owns them, and each failure reaches `on_failure`.

A task that works for as long as its room does is `keep`t: what fails is told and begun again, so that one bad moment
(a full disk, no descriptors left, a bug that one object sets off) never ends it for the rest of the process's life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fairlead.base import clock as clocks

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0
Work = Callable[[], Coroutine[Any, Any, Any]]


class Nursery:
    """Owns the tasks of one room. `close` cancels and awaits them all; a task that raises is reported once."""

    def __init__(self, name: str, *, on_failure: Callable[[str, BaseException], None]) -> None:
        self.name = name
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def start(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Runs the coroutine as a task of this nursery."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, work: Work, *, name: str, clock: clocks.Clock) -> asyncio.Task[Any]:
        """Runs `work` until it returns. When it raises, that is reported and it is run again: after 0.1 s, then after
        twice as long, up to 30 s; one that has worked for longer than that begins with 0.1 s again."""
        return self.start(self._kept(work, name, clock), name=name)

    async def _kept(self, work: Work, name: str, clock: clocks.Clock) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = clock.monotonic()
            try:
                await work()
            except Exception as error:
                self._on_failure(f"{self.name}/{name}", error)
            else:
                return
            if clock.monotonic() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not self._closing:
            self._on_failure(task.get_name(), error)

    async def close(self) -> None:
        """Cancels every task and waits until the last has ended."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Nursery {self.name}: {len(self._tasks)} tasks>"
