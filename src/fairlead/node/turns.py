"""Of many pods that start at once the first are ready early, not all of them late: so many start side by side.

A turn goes from the making of a pod's sandbox to the first start of a container in it. Only process pods take turns: an
engine may pull an image for minutes.
"""

from __future__ import annotations

import asyncio
import os


class Turns:
    """The turns of one node."""

    def __init__(self, at_once: int = 0) -> None:
        self._free = asyncio.Semaphore(at_once or 2 * (os.cpu_count() or 1))

    async def take(self) -> Turn:
        """Returns when it is the caller's turn, first come first served."""
        await self._free.acquire()
        return Turn(self._free)


class Turn:
    """One turn. `over` may be said more than once."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free: asyncio.Semaphore | None = free

    def over(self) -> None:
        """The next one's turn."""
        if self._free is not None:
            self._free.release()
            self._free = None
