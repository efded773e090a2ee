"""The durable store: the log on one writer thread, group commit, and the in-memory view in front of it.

While a batch is being committed the next one gathers, so that many writers share one fsync and a single writer
waits for nobody. Writes become visible, to readers and to watchers, only when they are durable.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fairlead.base import slices
from fairlead.store import log, pending, protocol, reads


class SqliteStore(reads.Reads):
    """See the module. `synchronous` exists for the test that proves that FULL is needed."""

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        super().__init__()
        self._path = path
        self._synchronous = synchronous
        self._log: log.Log
        self._loop: asyncio.AbstractEventLoop
        self._gathering: list[pending.Write] = []
        self._busy = False
        self._closed = False
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)

    async def open(self) -> None:
        """Opens or makes the file and loads it. Raises Refused."""
        self._loop = asyncio.get_running_loop()
        self._log = log.Log(self._path, synchronous=self._synchronous)
        try:
            loaded = self._log.load()
        except BaseException:
            self._log.close()
            raise
        self._view.load(loaded.entries, revision=loaded.revision, recent=loaded.recent, oldest=loaded.oldest)
        self._pending = pending.Pending(self._view)
        self._thread.start()

    def write(self, key: str, encode: protocol.Encode, *, expected: int | None = None) -> Awaitable[protocol.Entry]:
        return self._gather(key, encode, expected=expected, deleted=False)

    def delete(self, key: str, encode: protocol.Encode, *, expected: int | None = None) -> Awaitable[protocol.Entry]:
        return self._gather(key, encode, expected=expected, deleted=True)

    def _gather(
        self, key: str, encode: protocol.Encode, *, expected: int | None, deleted: bool
    ) -> asyncio.Future[protocol.Entry]:
        if self._closed:
            raise protocol.StoreError("the store is closed")
        write = self._pending.prepare(key, encode, expected=expected, deleted=deleted)
        self._gathering.append(write)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._commit)
        return write.done

    def _commit(self) -> None:
        batch, self._gathering = self._gathering, []
        rows = [log.row(write.event) for write in batch]
        self._jobs.put(lambda: self._append(batch, rows))

    def _append(self, batch: list[pending.Write], rows: list[log.Row]) -> None:
        error: Exception | None = None
        try:
            self._log.append(rows)
        except Exception as failure:
            error = failure
        self._loop.call_soon_threadsafe(self._committed, batch, error)

    def _committed(self, batch: list[pending.Write], error: Exception | None) -> None:
        if error is not None:
            later, self._gathering = self._gathering, []
            self._pending.fail(batch + later, protocol.StoreError(f"the store could not write: {error}"))
        else:
            self._pending.settle(batch)
        if self._gathering:
            self._commit()
        else:
            self._busy = False
            self._idle.set()

    def _work(self) -> None:
        slices.long()
        while (job := self._jobs.get()) is not None:
            job()
        self._log.close()

    def _waiting_jobs(self) -> None:
        """The commits that came while the writer's thread does something long. Its end comes after that."""
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                return
            job()

    async def _run(self, function: Callable[[], Any]) -> Any:
        done: asyncio.Future[Any] = self._loop.create_future()

        def job() -> None:
            try:
                result = function()
            except Exception as error:
                self._loop.call_soon_threadsafe(_fail, done, error)
            else:
                self._loop.call_soon_threadsafe(_finish, done, result)

        self._jobs.put(job)
        return await done

    async def compact(self, revision: int) -> None:
        revision = min(revision, self._view.revision)
        newest = self._view.revision
        await self._run(lambda: self._log.compact(revision, newest=newest))
        self._view.forget(revision)

    async def backup(self, path: Path) -> None:
        await self._run(lambda: self._log.backup(path, between=self._waiting_jobs))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._view.close()
        await self._idle.wait()
        self._jobs.put(None)
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)


def _finish(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
