"""The storage of the fake API server: objects, one revision counter, and a log that watches read.

Every write is one revision and one log entry. `compact` forgets the log, so that watches from before get 410.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

Object = dict[str, Any]
Test = Callable[[Object], bool]
Key = tuple[str, str, str]  # (path of the collection without namespace, namespace, name)


@dataclass(frozen=True, slots=True)
class Entry:
    """One write: `old` is None for a creation, `new` for a removal; `last` is what watchers of it see."""

    revision: int
    key: Key
    old: Object | None
    new: Object | None
    last: Object


class Compacted(Exception):
    """The log does not reach back that far."""


class Memory:
    """All objects by key. Values are never changed in place."""

    def __init__(self) -> None:
        self.revision = 1
        self.observers: list[Callable[[Entry], None]] = []
        self._objects: dict[Key, Object] = {}
        self._log: list[Entry] = []
        self._compacted = 0
        self._changed = asyncio.Event()
        self._epoch = 0

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def select(self, collection: str, namespace: str, test: Test) -> list[Object]:
        return [obj for (found, where, _), obj in sorted(self._objects.items(), key=lambda item: item[0])
                if found == collection and (not namespace or where == namespace) and test(obj)]  # fmt: skip

    def put(self, key: Key, obj: Object) -> Object:
        """Writes a new version and returns it with its resourceVersion."""
        self.revision += 1
        new = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        entry = Entry(self.revision, key, self._objects.get(key), new, new)
        self._objects[key] = new
        self._append(entry)
        return new

    def remove(self, key: Key) -> Object:
        """Removes the object and returns its last state."""
        self.revision += 1
        old = self._objects.pop(key)
        last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.revision)}}
        self._append(Entry(self.revision, key, old, None, last))
        return last

    def _append(self, entry: Entry) -> None:
        self._log.append(entry)
        self._wake()
        for observer in self.observers:
            observer(entry)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def compact(self) -> None:
        """Forgets the log up to now."""
        self._log.clear()
        self._compacted = self.revision

    def end_watches(self) -> None:
        """Ends every watch that is open, as a restart of the server would."""
        self._epoch += 1
        self._wake()

    def since(self, revision: int) -> Iterator[Entry]:
        """The writes after the revision. Raises Compacted."""
        if revision < self._compacted:
            raise Compacted
        return iter([entry for entry in self._log if entry.revision > revision])

    async def watch(self, collection: str, namespace: str, test: Test, *, revision: int) -> AsyncIterator[bytes]:
        """The lines of a watch. Ends with `end_watches`."""
        epoch = self._epoch
        position = revision
        while epoch == self._epoch:
            changed = self._changed
            try:
                entries = list(self.since(position))
            except Compacted:
                yield line("ERROR", gone())
                return
            position = self.revision
            for entry in entries:
                if entry.key[0] == collection and (not namespace or entry.key[1] == namespace):
                    event = _event(entry, test)
                    if event is not None:
                        yield event
            if position == self.revision:
                await changed.wait()


def _event(entry: Entry, test: Test) -> bytes | None:
    before = entry.old is not None and test(entry.old)
    after = entry.new is not None and test(entry.new)
    if before and after:
        return line("MODIFIED", entry.last)
    if after:
        return line("ADDED", entry.last)
    return line("DELETED", entry.last) if before else None


def line(type_: str, obj: Object) -> bytes:
    """One event of a watch as it travels."""
    return msgspec.json.encode({"type": type_, "object": obj}) + b"\n"


def gone() -> Object:
    """The Status of a version that is too old."""
    message = "too old resource version"
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "message": message,
            "code": 410, "metadata": {}}  # fmt: skip
