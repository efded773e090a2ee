"""The rooms of a cluster that are to be closed: in reverse order, each although another one's closing failed.

Its doors are closed in two steps: first those to the outside, and who came in by them is served to the end, by every
Service that it takes; then those inside. Idle clients have a second to ask on each time, and are told to close.

What carries and runs pods outlives this process. When a start fails and pods of an earlier life run, it is left as it
is, for the next start to find.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from fairlead.base import clock as clocks
from fairlead.base import log
from fairlead.dataplane import coordinator
from fairlead.node import racing

Closer = Callable[[], Awaitable[object]]
_log = log.get(__name__)


async def nothing() -> None:
    """What is left as it is."""


class Rooms:
    """Added when each has been opened."""

    def __init__(self) -> None:
        self._closers: list[tuple[str, Closer, Closer]] = []

    def add(self, name: str, closer: Closer, *, leave: Closer | None = None) -> None:
        """`leave` is what is done instead where what an earlier life left running goes on."""
        self._closers.append((name, closer, leave or closer))

    async def close(self, *, leaving: bool) -> None:
        """Closes them all, the last one first."""
        while self._closers:
            name, closer, leave = self._closers.pop()
            _log.info("closing", room=name)
            try:
                await (leave if leaving else closer)()
            except Exception as error:  # the others must still be closed
                _log.error("closing failed", error=error, room=name)


async def see_out(
    planes: coordinator.Coordinator, allowed_seconds: float, *, hurry: asyncio.Event, clock: clocks.Clock
) -> float:
    """Nobody comes in from outside any more; returns how long it took until everybody had gone who did."""
    since = clock.monotonic()
    await racing.first(planes.see_out(deadline_seconds=allowed_seconds), hurry.wait())
    return clock.monotonic() - since


async def shut(planes: coordinator.Coordinator, *, hurry: asyncio.Event) -> None:
    """No plane takes a new connection; requests in flight go on and keep their pods."""
    sent = await planes.shut()
    with contextlib.suppress(TimeoutError):  # a dead plane takes no new request either
        async with asyncio.timeout(coordinator.ACK_LIMIT_SECONDS):
            await racing.first(planes.acked(sent), hurry.wait())
