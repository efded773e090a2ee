"""Watches over real TLS connections: shared bytes, full transports, readers that stall or go."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client import rest

KIND = kinds.CONFIG_MAP


class Wire:
    """One connection that watches configmaps and reads only when asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: list[dict[str, Any]] = []

    async def event(self) -> dict[str, Any]:
        """The next event. Raises IncompleteReadError when the connection has been cut."""
        while not self._waiting:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            if size == 0:
                raise asyncio.IncompleteReadError(b"", 1)
            lines = (await self._reader.readexactly(size + 2)).splitlines()
            self._waiting = [json.loads(line) for line in lines if line]
        return self._waiting.pop(0)

    async def close(self) -> None:
        self._writer.transport.abort()
        await asyncio.sleep(0)


class Wires:
    """Opens watches."""

    def __init__(self, api: server.ApiServer, folder: Path) -> None:
        self._api = api
        self._context = ssl.create_default_context(cafile=folder / "pki" / "ca.crt")
        self._opened: list[Wire] = []

    async def watch(self, query: str = "", *, buffer_bytes: int = 1 << 16) -> Wire:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._api.port, ssl=self._context, limit=buffer_bytes
        )
        path = f"{KIND.path('default')}?watch=1&fieldSelector={query}" if query else f"{KIND.path('default')}?watch=1"
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._api.token.reveal()}\r\n\r\n"
        writer.write(head.encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        wire = Wire(reader, writer)
        self._opened.append(wire)
        return wire

    async def close(self) -> None:
        for wire in self._opened:
            await wire.close()


@pytest.fixture
async def wires(api: server.ApiServer, tmp_path: Path) -> AsyncIterator[Wires]:
    made = Wires(api, tmp_path)
    yield made
    await made.close()


async def _write(client: rest.RestClient, number: int, text: str = "") -> None:
    body = {"metadata": {"name": f"c{number % 2}", "namespace": "default"}, "data": {"n": str(number), "t": text}}
    await (client.create(KIND, body) if number < 2 else client.update(KIND, body))


async def _numbers(wire: Wire, count: int) -> list[int]:
    return [int((await wire.event())["object"]["data"]["n"]) for _ in range(count)]


async def test_watches_of_one_collection_share_a_subscription_and_see_the_same(
    api: server.ApiServer, client: rest.RestClient, wires: Wires
) -> None:
    three = [await wires.watch() for _ in range(3)]
    chosen = await wires.watch("metadata.name=c1")
    before = api.chain.store.watchers()
    assert api.chain.watches.shared() == 2
    for number in range(10):
        await _write(client, number)
    for wire in three:
        assert await _numbers(wire, 10) == list(range(10))
    assert await _numbers(chosen, 5) == [1, 3, 5, 7, 9]
    assert api.chain.store.watchers() == before


async def test_a_watch_that_comes_later_joins_without_missing_or_repeating(
    client: rest.RestClient, wires: Wires
) -> None:
    first = await wires.watch()
    for number in range(4):
        await _write(client, number)
    later = await wires.watch()  # its state is two objects, the newest of each
    for number in range(4, 8):
        await _write(client, number)
    assert await _numbers(first, 8) == list(range(8))
    assert await _numbers(later, 6) == [2, 3, 4, 5, 6, 7]


async def test_a_stalled_reader_is_cut_and_the_others_get_everything(
    api: server.ApiServer, client: rest.RestClient, wires: Wires
) -> None:
    stalled, good = await wires.watch(), await wires.watch(buffer_bytes=4 << 20)
    text = "x" * 500_000
    for number in range(60):
        await _write(client, number, text)
        assert await _numbers(good, 1) == [number]
    seen = 0
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        while True:
            await stalled.event()
            seen += 1
    assert seen < 60


async def test_a_slow_reader_catches_up_and_misses_nothing(
    api: server.ApiServer, client: rest.RestClient, wires: Wires
) -> None:
    slow, good = await wires.watch(), await wires.watch(buffer_bytes=4 << 20)
    text = "x" * 500_000
    for number in range(20):  # more than the sockets hold, less than the queue
        await _write(client, number, text)
        assert await _numbers(good, 1) == [number]
    assert api.chain.watches.shared() == 0, "the slow one has left the group"
    assert await _numbers(slow, 20) == list(range(20))
    await _write(client, 20)
    await _write(client, 21)
    assert await _numbers(slow, 2) == await _numbers(good, 2) == [20, 21]
    assert api.chain.watches.shared() == 1, "and has come back"


async def test_a_reader_that_has_gone_leaves_nothing_behind(
    api: server.ApiServer, client: rest.RestClient, wires: Wires
) -> None:
    before = api.chain.store.watchers()
    gone, stays = await wires.watch(), await wires.watch()
    await gone.close()
    for number in range(3):
        await _write(client, number)
        assert await _numbers(stays, 1) == [number]
    assert api.chain.watches.shared() == 0
    assert api.chain.store.watchers() == before + 1
