"""Writes on their way: revisions are given and expectations checked here, before anything is durable.

The next write to a key is checked against the newest write, durable or not, so that writes to one key need not wait
for each other and share a commit. When a commit fails, everything that was given a revision after it fails too,
because it may have been built upon it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fairlead.store import protocol, view


@dataclass(slots=True)
class Write:
    """One write: its event and who waits for it."""

    event: protocol.Event
    done: asyncio.Future[protocol.Entry]


class Pending:
    """Gives revisions and keeps the newest value of every key that is being written."""

    def __init__(self, shown: view.View) -> None:
        self._view = shown
        self._heads: dict[str, protocol.Event] = {}
        self._revision = shown.revision

    def head(self, key: str) -> protocol.Entry | None:
        event = self._heads.get(key)
        if event is None:
            return self._view.get(key)
        return None if event.deleted else event.entry

    def prepare(self, key: str, encode: protocol.Encode, *, expected: int | None, deleted: bool) -> Write:
        """Checks and numbers a write. Raises Conflict; an error of `encode` uses no revision."""
        previous = self.head(key)
        actual = previous.revision if previous else 0
        if (expected is not None and expected != actual) or (deleted and previous is None):
            raise protocol.Conflict(key, expected=expected or 0, actual=actual)
        revision = self._revision + 1
        created = previous.created if previous else revision
        entry = protocol.Entry(key, encode(revision), revision, created)
        event = protocol.Event(entry, previous, deleted)
        self._revision = revision
        self._heads[key] = event
        return Write(event, asyncio.get_running_loop().create_future())

    def settle(self, writes: list[Write]) -> None:
        """The writes are durable: they become visible, their writers go on, and watchers are told once of them all."""
        for write in writes:
            event = write.event
            if self._heads.get(event.entry.key) is event:
                del self._heads[event.entry.key]
            self._view.apply(event)
            if not write.done.done():
                write.done.set_result(event.entry)
        self._view.deliver()

    def fail(self, writes: list[Write], error: Exception) -> None:
        """These writes, and with them every one on its way, did not happen."""
        self._heads.clear()
        for write in writes:
            if not write.done.done():
                write.done.set_exception(error)
