"""Speaks docs/protocol.md to an engine for the benchmarks: sockets, table, endpoints, drains, and the acks of all that.

It is the least that measures; the product's own controller is `fairlead.dataplane`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairlead.routing import table

_LENGTH = struct.Struct(">I")


class EngineError(Exception):
    """The engine refused a message, or its connection ended."""


class Driver:
    """One control connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._epoch = time.time_ns() // 1000
        self._sequence = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, path: Path) -> Driver:
        """Connects and says hello."""
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, str(path))
        driver = cls(connection)
        driver._reader = asyncio.create_task(driver._read())
        await driver._ask("welcome", {"type": "hello", "version": 1})
        return driver

    async def sockets(self, given: Mapping[str, socket.socket]) -> None:
        """Hands listening sockets over; their ids are told by the caller."""
        names = [{"id": name, "family": "inet", "transport": name.partition(":")[0]} for name in given]
        body = msgspec.json.encode({"type": "sockets", "sockets": names})
        frame = _LENGTH.pack(len(body)) + body
        sent = socket.send_fds(self._socket, [frame], [one.fileno() for one in given.values()])
        if sent < len(frame):
            await asyncio.get_running_loop().sock_sendall(self._socket, frame[sent:])

    async def structure(self, wanted: table.Structure, *, full: bool = True) -> list[dict[str, Any]]:
        """Sends a table; returns its nacks when every thread works by it."""
        fields = msgspec.to_builtins(wanted)
        return await self._change({"type": "structure", "full": full, "removed": {}, **fields})

    async def remove(self, **kinds: Sequence[str]) -> list[dict[str, Any]]:
        """Removes objects by kind and id: `routes=[...]`."""
        return await self._change({"type": "structure", "full": False, "removed": dict(kinds)})

    async def endpoints(self, sets: Iterable[table.BackendEndpoints]) -> list[dict[str, Any]]:
        """Replaces the endpoints of Backends."""
        return await self._change({"type": "endpoints", "backends": msgspec.to_builtins(list(sets))})

    async def drain(self, address: str, port: int | None = None) -> dict[str, Any]:
        """Drains an address; returns the `drained` message."""
        name = f"drain-{next(self._sequence)}"
        message = {"type": "drain", "id": name, "address": address, **({"port": port} if port else {})}
        drained = self._expect(f"drained {name}")
        await self._change(message)
        return await drained

    async def _change(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        sequence = next(self._sequence)
        ack = await self._ask(f"ack {sequence}", {**message, "epoch": self._epoch, "seq": sequence})
        nacks: list[dict[str, Any]] = ack.get("nacks", [])
        return nacks

    def _expect(self, key: str) -> asyncio.Future[dict[str, Any]]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        return future

    async def _ask(self, key: str, message: dict[str, Any]) -> dict[str, Any]:
        answer = self._expect(key)
        body = msgspec.json.encode(message)
        await asyncio.get_running_loop().sock_sendall(self._socket, _LENGTH.pack(len(body)) + body)
        return await asyncio.wait_for(answer, 30)

    async def _read(self) -> None:
        buffer = bytearray()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._socket, 1 << 20):
                buffer += data
                while len(buffer) >= 4 and len(buffer) >= 4 + (length := _LENGTH.unpack_from(buffer)[0]):
                    self._take(msgspec.json.decode(buffer[4 : 4 + length]))
                    del buffer[: 4 + length]
        self._fail_all("the engine closed its control connection")

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        key = {"ack": f"ack {message.get('seq')}", "drained": f"drained {message.get('id')}"}.get(kind, kind)
        if kind == "error":
            self._fail_all(message["message"])
        elif future := self._waiting.pop(key, None):
            future.set_result(message)
        else:
            self.events.append(message)

    def _fail_all(self, reason: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EngineError(reason))
        self._waiting.clear()

    async def close(self) -> None:
        """Lets go of the engine, which goes on."""
        if self._reader:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        self._socket.close()
