"""Of many pods that start at once the first are ready early, not all of them late: so many start side by side.

A turn goes from the making of a pod's sandbox to the first start of a container in it. Only process pods take turns: an
engine may pull an image for minutes. Who has or waits for a turn is urgent: others' work that may wait does so.
"""

from __future__ import annotations

import asyncio
import os

from fairlead.base import leisure as leisures

MOST = 16  # however many cores: all of them share one loop, which a few keep busy


class Turns:
    """The turns of one node."""

    def __init__(self, leisure: leisures.Leisure, *, at_once: int = 0) -> None:
        self._leisure = leisure
        leisure.room = at_once or min(2 * (os.cpu_count() or 1), MOST)
        self._free = asyncio.Semaphore(leisure.room)

    async def take(self) -> Turn:
        """Returns when it is the caller's turn, first come first served."""
        self._leisure.begin()
        try:
            await self._free.acquire()
        except BaseException:
            self._leisure.end()
            raise
        return Turn(self._free, self._leisure)


class Turn:
    """One turn. `over` may be said more than once."""

    def __init__(self, free: asyncio.Semaphore, leisure: leisures.Leisure) -> None:
        self._free: asyncio.Semaphore | None = free
        self._leisure = leisure

    def over(self) -> None:
        """The next one's turn."""
        if self._free is not None:
            self._free.release()
            self._leisure.end()
            self._free = None
