"""History is compacted and Events expire as long as the server runs, even after a disk that was full for a while."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.api import kinds
from fairlead.apiserver import certificates, housekeeping, server
from fairlead.base import clock as clocks
from fairlead.client import inprocess
from fairlead.store import memory, protocol
from fairlead.testing import clock


class FullStore(memory.MemoryStore):
    """A store whose disk is full while `full`."""

    full = False
    compacted = 0

    async def compact(self, revision: int) -> None:
        if self.full:
            raise protocol.StoreError("database or disk is full")
        self.compacted = revision
        await super().compact(revision)

    def delete(self, key: str, encode: protocol.Encode, *, expected: int | None = None):  # type: ignore[no-untyped-def]
        if self.full:
            raise protocol.StoreError("database or disk is full")
        return super().delete(key, encode, expected=expected)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock, self.store = clock.FakeClock(), FullStore()
        config = server.ApiServerConfig(state_folder=folder, node_name="node-1")
        self.server = server.ApiServer(self.store, config, clock=self.clock)
        self.client = inprocess.client(self.server.exchange, server.ADMIN)

    async def event(self) -> None:
        """An Event of now."""
        stamp = clocks.rfc3339(self.clock.now())
        about = {"kind": "Pod", "name": "a", "namespace": "default"}
        body = {"metadata": {"generateName": "e-"}, "involvedObject": about, "lastTimestamp": stamp, "reason": "R"}
        await self.client.create(kinds.EVENT, body, namespace="default")

    async def events(self) -> int:
        return len((await self.client.list(kinds.EVENT)).items)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.server.start()
    await clock.settle()
    yield made
    await made.server.close()


async def test_history_older_than_five_minutes_is_compacted(bench: Bench) -> None:
    before = bench.store.revision
    await bench.event()
    await bench.clock.advance(housekeeping.COMPACT_SECONDS)
    assert bench.store.compacted == before
    while bench.store.compacted == before:  # a thread gives memory back in between
        await bench.clock.advance(housekeeping.COMPACT_SECONDS)
    assert bench.store.compacted > before


async def test_events_expire_an_hour_after_they_last_happened(bench: Bench) -> None:
    await bench.event()
    await bench.clock.advance(1800.0)
    await bench.event()
    assert await bench.events() == 2
    await bench.clock.advance(1800.0 + 120.0)
    assert await bench.events() == 1


async def test_a_disk_that_was_full_for_an_hour_ends_neither(bench: Bench) -> None:
    await bench.event()
    bench.store.full = True
    await bench.clock.advance(2 * housekeeping.EVENT_SECONDS)
    assert (bench.store.compacted, await bench.events()) == (0, 1)
    bench.store.full = False
    await bench.clock.advance(2 * housekeeping.COMPACT_SECONDS)
    assert bench.store.compacted > 0
    assert await bench.events() == 0


async def test_a_server_that_runs_for_a_year_shows_no_certificate_that_is_over(bench: Bench) -> None:
    place = ("127.0.0.1", bench.server.port)
    before = await asyncio.to_thread(ssl.get_server_certificate, place)
    bench.clock.jump((certificates.SERVER_DAYS - certificates.RENEW_DAYS) * 86400.0)
    await bench.clock.advance(certificates.LOOK_SECONDS)
    async with asyncio.timeout(5):
        while await asyncio.to_thread(ssl.get_server_certificate, place) == before:
            await asyncio.sleep(0.01)
