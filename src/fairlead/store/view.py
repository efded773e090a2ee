"""The in-memory view: the newest value of every key, a window of history, and the watches.

Only durable changes get here, in the order of their revisions, on the event loop's thread. Reads and watches never
touch a disk. A page as of an older revision is made by undoing the window's newer changes.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import deque
from collections.abc import Iterable

from fairlead.store import protocol

WINDOW_EVENTS = 16_384
WINDOW_BYTES = 32 << 20
QUEUE_EVENTS = 16_384
QUEUE_BYTES = 16 << 20
DELIVERY_SECONDS = 0.005
"""How long watchers are told of changes before the loop may do something else."""


class Subscription:
    """One watcher's bounded queue of shared events. A reader that stalls past the bound is closed, nobody else
    waits."""

    __slots__ = ("_bytes", "_ended", "_listener", "_queue", "_view", "_waiter", "marked", "prefix", "stalled")

    def __init__(self, view: View, prefix: str, backlog: Iterable[protocol.Event]) -> None:
        self.prefix = prefix
        self.stalled = False
        self.marked = False  # for the view: it has something to deliver
        self._view = view
        self._queue: deque[protocol.Event] = deque(backlog)
        self._bytes = 0
        self._ended = False
        self._listener: protocol.Listener | None = None
        self._waiter: asyncio.Future[None] | None = None

    def push(self, event: protocol.Event) -> None:
        """Queues an event, or ends the watch when its reader has stalled. `deliver` hands it on."""
        self._bytes += len(event.entry.value)
        if len(self._queue) >= QUEUE_EVENTS or self._bytes > QUEUE_BYTES:
            self.stalled = True
            self.close()
            return
        self._queue.append(event)

    def deliver(self) -> None:
        """Hands what is queued to the listener, or wakes whoever waits."""
        self.marked = False
        if self._listener is not None and self._queue and not self._listener(self._taken()):
            self._listener = None
        if self._listener is None:
            self._wake()

    async def next(self) -> list[protocol.Event]:
        while not self._queue:
            if self._ended:
                return []
            await self._woken()
        return self._taken()

    def listen(self, listener: protocol.Listener) -> None:
        self._listener = listener
        self.deliver()

    async def released(self) -> bool:
        while self._listener is not None and not self._ended:
            await self._woken()
        return not self._ended

    async def ended(self) -> None:
        while not self._ended:
            await self._woken()

    def idle(self) -> bool:
        return not self._queue

    def close(self) -> None:
        self._ended = True
        self._listener = None
        self._queue.clear()
        self._view.unsubscribe(self)
        self._wake()

    def _taken(self) -> list[protocol.Event]:
        events = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        return events

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<Subscription {self.prefix!r}: {len(self._queue)} queued{', ended' if self._ended else ''}>"


class Bucket:
    """The keys of one resource, sorted; the watchers of it; when it last changed."""

    __slots__ = ("changed", "entries", "keys", "watchers")

    def __init__(self) -> None:
        self.entries: dict[str, protocol.Entry] = {}
        self.keys: list[str] = []
        self.watchers: list[Subscription] = []
        self.changed = 0

    def span(self, prefix: str) -> tuple[int, int]:
        """Where the keys with that prefix begin and end."""
        if prefix.count("/") == 1 and prefix.endswith("/"):
            return 0, len(self.keys)
        return bisect.bisect_left(self.keys, prefix), bisect.bisect_left(self.keys, prefix + "\U0010ffff")


def bucket_of(key: str) -> str:
    """The first segment of a key or prefix."""
    return key[: key.index("/")]


class View:
    """See the module. `oldest` is the smallest revision that a watch may start after."""

    def __init__(self) -> None:
        self.revision = 0
        self.oldest = 0
        self._buckets: dict[str, Bucket] = {}
        self._window: list[protocol.Event] = []
        self._window_start = 0
        self._window_bytes = 0
        self._marked: deque[Subscription] = deque()
        self._delivering = False

    def load(
        self, entries: Iterable[protocol.Entry], *, revision: int, recent: list[protocol.Event], oldest: int
    ) -> None:
        """Fills an empty view with the state at a revision and the changes since an older one."""
        for entry in entries:
            bucket = self._bucket(entry.key)
            bucket.entries[entry.key] = entry
            bucket.changed = max(bucket.changed, entry.revision)
        for bucket in self._buckets.values():
            bucket.keys = sorted(bucket.entries)
        self.revision, self.oldest = revision, oldest
        for event in recent:
            self._bucket(event.entry.key).changed = event.revision
            self._remember(event)

    def _bucket(self, key: str) -> Bucket:
        name = bucket_of(key)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket()
        return bucket

    def get(self, key: str) -> protocol.Entry | None:
        bucket = self._buckets.get(bucket_of(key))
        return bucket.entries.get(key) if bucket else None

    def count(self, prefix: str) -> int:
        bucket = self._buckets.get(bucket_of(prefix))
        if bucket is None:
            return 0
        start, end = bucket.span(prefix)
        return end - start

    def changed(self, bucket: str) -> int:
        found = self._buckets.get(bucket)
        return found.changed if found else 0

    def page(self, prefix: str, *, after: str, limit: int, revision: int) -> protocol.Page:
        self._check_age(revision or self.revision)
        bucket = self._bucket(prefix)
        if revision and revision < self.revision:
            return self._old_page(bucket, prefix, after=after, limit=limit, revision=revision)
        start, end = bucket.span(prefix)
        if after:
            start = max(start, bisect.bisect_right(bucket.keys, after))
        stop = min(end, start + limit) if limit else end
        entries = bucket.entries
        return protocol.Page([entries[key] for key in bucket.keys[start:stop]], self.revision, end - stop)

    def _old_page(self, bucket: Bucket, prefix: str, *, after: str, limit: int, revision: int) -> protocol.Page:
        start, end = bucket.span(prefix)
        state: dict[str, protocol.Entry | None] = {key: bucket.entries[key] for key in bucket.keys[start:end]}
        for event in reversed(self._since(revision)):
            if event.entry.key.startswith(prefix):
                state[event.entry.key] = event.previous
        rows = [entry for key, entry in sorted(state.items()) if entry is not None and key > after]
        stop = limit or len(rows)
        return protocol.Page(rows[:stop], revision, max(0, len(rows) - stop))

    def apply(self, event: protocol.Event) -> None:
        """Makes a durable change visible and queues it to its watchers; `deliver` tells them."""
        entry = event.entry
        bucket = self._bucket(entry.key)
        if event.deleted:
            if bucket.entries.pop(entry.key, None) is not None:
                del bucket.keys[bisect.bisect_left(bucket.keys, entry.key)]
        else:
            if entry.key not in bucket.entries:
                bisect.insort(bucket.keys, entry.key)
            bucket.entries[entry.key] = entry
        bucket.changed = self.revision = entry.revision
        self._remember(event)
        for watcher in tuple(bucket.watchers):
            if entry.key.startswith(watcher.prefix):
                watcher.push(event)
                if not watcher.marked:
                    watcher.marked = True
                    self._marked.append(watcher)

    def deliver(self) -> None:
        """Tells the watchers that have something queued, in one pass of the loop unless they are very many."""
        if not self._marked:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + DELIVERY_SECONDS
        while self._marked and loop.time() < end:
            self._marked.popleft().deliver()
        if self._marked and not self._delivering:
            self._delivering = True
            loop.call_soon(self._deliver_more)

    def _deliver_more(self) -> None:
        self._delivering = False
        self.deliver()

    def _remember(self, event: protocol.Event) -> None:
        self._window.append(event)
        self._window_bytes += len(event.entry.value)
        while len(self._window) - self._window_start > WINDOW_EVENTS or self._window_bytes > WINDOW_BYTES:
            self._forget_one()
        if self._window_start > 1024 and self._window_start * 2 > len(self._window):
            del self._window[: self._window_start]
            self._window_start = 0

    def _forget_one(self) -> None:
        event = self._window[self._window_start]
        self._window_bytes -= len(event.entry.value)
        self.oldest = event.revision
        self._window[self._window_start] = _FORGOTTEN
        self._window_start += 1

    def forget(self, revision: int) -> None:
        """Drops the history up to a revision."""
        while self._window_start < len(self._window) and self._window[self._window_start].revision <= revision:
            self._forget_one()
        self.oldest = max(self.oldest, min(revision, self.revision))

    def _since(self, revision: int) -> list[protocol.Event]:
        start = bisect.bisect_right(self._window, revision, lo=self._window_start, key=_revision)
        return self._window[start:]

    def _check_age(self, revision: int) -> None:
        if revision < self.oldest:
            raise protocol.Compacted(revision, oldest=self.oldest)
        if revision > self.revision:
            raise protocol.FutureRevision(f"Too large resource version: {revision}, current: {self.revision}")

    def subscribe(self, prefix: str, *, after: int) -> Subscription:
        self._check_age(after)
        backlog = [event for event in self._since(after) if event.entry.key.startswith(prefix)]
        subscription = Subscription(self, prefix, backlog)
        self._bucket(prefix).watchers.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        watchers = self._bucket(subscription.prefix).watchers
        if subscription in watchers:
            watchers.remove(subscription)

    def watchers(self) -> int:
        """How many watches are open."""
        return sum(len(bucket.watchers) for bucket in self._buckets.values())

    def buckets(self) -> dict[str, int]:
        """How many keys each bucket holds."""
        return {name: len(bucket.keys) for name, bucket in self._buckets.items()}

    def close(self) -> None:
        """Ends every watch."""
        for bucket in self._buckets.values():
            for watcher in tuple(bucket.watchers):
                watcher.close()


def _revision(event: protocol.Event) -> int:
    return event.revision


_FORGOTTEN = protocol.Event(protocol.Entry("/", b"", 0, 0), None, deleted=True)
