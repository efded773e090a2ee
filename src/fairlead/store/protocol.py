"""What a store promises: one ordered log of revisions, a view of the newest values, and watches over both.

A write is acknowledged only after it is durable. Revisions only grow; every write has its own. A watch yields every
change after a revision once and in order, or refuses with `Compacted` when that revision is no longer kept. The
model is etcd's as Kubernetes uses it (k8s.io/apiserver storage.Interface), cut down to what an API server needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

Encode = Callable[[int], bytes]
"""Makes the value for the revision that the write will have. Called once, at once, by `write` and `delete`."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One key's value. `created` is the revision of its creation, `revision` of its newest change."""

    key: str
    value: bytes
    revision: int
    created: int


@dataclass(slots=True)
class Event:
    """One change. `entry` is the new state, or the final one of a deleted key. `memo` is for the readers: what they
    make of the event (its encoding, its labels) is made once for all of them."""

    entry: Entry
    previous: Entry | None
    deleted: bool
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        return self.entry.revision


Listener = Callable[[list[Event]], bool]
"""Takes changes at once. False: it has taken them and wants no more until it listens again. It must not raise."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in the order of their keys as of `revision`. `remaining` counts what the limit left out."""

    entries: list[Entry]
    revision: int
    remaining: int


class StoreError(Exception):
    """A store that cannot do what was asked; the message says why."""


class Conflict(StoreError):
    """The key is not at the expected revision. `actual` is where it is (0: it does not exist)."""

    def __init__(self, key: str, *, expected: int, actual: int) -> None:
        super().__init__(f"{key} is at revision {actual}, not {expected}")
        self.actual = actual


class Compacted(StoreError):
    """The revision is older than what is kept. `oldest` is the oldest that can be asked for."""

    def __init__(self, revision: int, *, oldest: int) -> None:
        super().__init__(f"too old resource version: {revision} ({oldest})")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision has not been yet."""


class Refused(StoreError):
    """The file cannot be opened: in use, damaged or made by a newer version."""


class Watch(Protocol):
    """A subscription. Not started twice; `close` may be called at any time."""

    async def next(self) -> list[Event]:
        """The changes since the last call, at least one; an empty list when the watch has ended."""

    def listen(self, listener: Listener) -> None:
        """Instead of `next`: hands what has happened, and from now on every change, to the listener at once."""

    async def released(self) -> bool:
        """Returns when the listener wants no more (True) or the watch has ended (False)."""

    async def ended(self) -> None:
        """Returns when the watch has ended."""

    def idle(self) -> bool:
        """True when everything that happened so far has been handed out."""

    def close(self) -> None:
        """Ends the watch."""


class Store(Protocol):
    """Keys are `BUCKET/rest`; prefixes hold at least the bucket and its slash."""

    @property
    def revision(self) -> int:
        """The newest durable revision."""

    def get(self, key: str) -> Entry | None:
        """The durable value."""

    def head(self, key: str) -> Entry | None:
        """The newest value, durable or on its way: what a read-modify-write builds upon."""

    def page(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries whose key starts with the prefix and sorts behind `after`. Raises Compacted, FutureRevision."""

    def count(self, prefix: str) -> int:
        """How many keys start with the prefix."""

    def changed(self, bucket: str) -> int:
        """The revision of the newest durable change in a bucket."""

    def buckets(self) -> dict[str, int]:
        """How many keys each bucket holds."""

    def watchers(self) -> int:
        """How many watches are open."""

    def write(self, key: str, encode: Encode, *, expected: int | None = None) -> Awaitable[Entry]:
        """Sets a value. `expected` is the revision that the key must have (0: must not exist; None: any). Conflict is
        raised by the call itself; the awaitable ends when the write is durable."""

    def delete(self, key: str, encode: Encode, *, expected: int | None = None) -> Awaitable[Entry]:
        """Removes a key; `encode` makes the final value, which watchers see."""

    def watch(self, prefix: str, *, after: int) -> Watch:
        """Every change after that revision. Raises Compacted, FutureRevision."""

    async def compact(self, revision: int) -> None:
        """Forgets what was before the revision, except the newest values."""

    async def backup(self, path: Path) -> None:
        """A copy as of now, while writes go on."""

    async def close(self) -> None:
        """Ends the watches, waits for the writes on their way and frees the file."""
