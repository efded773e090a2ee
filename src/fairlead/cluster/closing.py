"""The rooms of a cluster that are to be closed: in reverse order, each although another one's closing failed.

What carries and runs pods outlives this process. When a start fails and pods of an earlier life run, it is left as it
is, for the next start to find.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fairlead.base import log

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
