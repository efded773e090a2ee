"""A store without a disk, for tests and previews: the same view and the same checks, durable as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from fairlead.store import pending, protocol, reads


class MemoryStore(reads.Reads):
    """See the module. It has no file, so `backup` is refused."""

    def write(self, key: str, encode: protocol.Encode, *, expected: int | None = None) -> Awaitable[protocol.Entry]:
        return self._now(self._pending.prepare(key, encode, expected=expected, deleted=False))

    def delete(self, key: str, encode: protocol.Encode, *, expected: int | None = None) -> Awaitable[protocol.Entry]:
        return self._now(self._pending.prepare(key, encode, expected=expected, deleted=True))

    def _now(self, write: pending.Write) -> asyncio.Future[protocol.Entry]:
        self._pending.settle([write])
        return write.done

    async def compact(self, revision: int) -> None:
        self._view.forget(revision)

    async def backup(self, path: Path) -> None:
        raise protocol.StoreError(f"a store in memory has no file to copy to {path}")

    async def close(self) -> None:
        self._view.close()
