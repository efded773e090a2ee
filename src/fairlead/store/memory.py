"""A store without a disk, for tests and previews: the same view and the same checks, durable as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from fairlead.store import pending, protocol, view


class MemoryStore:
    """See the module. It has no file, so `backup` is refused."""

    def __init__(self) -> None:
        self._view = view.View()
        self._pending = pending.Pending(self._view)

    @property
    def revision(self) -> int:
        return self._view.revision

    def get(self, key: str) -> protocol.Entry | None:
        return self._view.get(key)

    def head(self, key: str) -> protocol.Entry | None:
        return self._pending.head(key)

    def page(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> protocol.Page:
        return self._view.page(prefix, after=after, limit=limit, revision=revision)

    def count(self, prefix: str) -> int:
        return self._view.count(prefix)

    def changed(self, bucket: str) -> int:
        return self._view.changed(bucket)

    def buckets(self) -> dict[str, int]:
        return self._view.buckets()

    def watchers(self) -> int:
        return self._view.watchers()

    def write(self, key: str, encode: protocol.Encode, *, expected: int | None = None) -> Awaitable[protocol.Entry]:
        return self._now(self._pending.prepare(key, encode, expected=expected, deleted=False))

    def delete(self, key: str, encode: protocol.Encode, *, expected: int | None = None) -> Awaitable[protocol.Entry]:
        return self._now(self._pending.prepare(key, encode, expected=expected, deleted=True))

    def _now(self, write: pending.Write) -> asyncio.Future[protocol.Entry]:
        self._pending.settle(write)
        return write.done

    def watch(self, prefix: str, *, after: int) -> protocol.Watch:
        return self._view.subscribe(prefix, after=after)

    async def compact(self, revision: int) -> None:
        self._view.forget(revision)

    async def backup(self, path: Path) -> None:
        raise protocol.StoreError(f"a store in memory has no file to copy to {path}")

    async def close(self) -> None:
        self._view.close()
