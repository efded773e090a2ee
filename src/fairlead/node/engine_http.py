"""HTTP/1.1 to a container engine on its Unix socket: as much as its API needs, without an HTTP library.

One connection per request. Answers come whole, or as a raw stream for exec. Raises EngineError for a status of 400 and
more (with the engine's own message) and OSError when nobody listens.
"""

from __future__ import annotations

import asyncio
import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

_LONGEST_BODY_BYTES = 64 * 1024 * 1024
_HEAD_SECONDS = 120.0
_CLOSED = "the container engine closed the connection"


def sockets(named: str, *, runtime: str, own: str, system: str) -> list[str]:
    """The sockets of an engine that are here, the best first: the one that the environment names (`unix://PATH`), the
    user's `own` below the `runtime` folder, the `system`'s; "" is none."""
    found = [named.removeprefix("unix://")] if named.startswith("unix://") else []
    found += [f"{runtime}/{own}"] if runtime and os.geteuid() != 0 else []
    found += [system] if system else []
    return [path for path in found if Path(path).is_socket()]


class EngineError(Exception):
    """The engine said no. `status` is HTTP's; the message is the engine's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineHttp:
    """One engine's socket."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = 60.0,
    ) -> Any:
        """The answer's JSON (None when it is empty, text when it is no JSON)."""
        try:
            async with asyncio.timeout(timeout_seconds):
                status, content = await self._answer(method, path, body, query, headers or {})
        except OSError:
            self._lost()
            raise
        if status >= 400:
            raise EngineError(status, _message(content))
        try:
            return msgspec.json.decode(content) if content else None
        except msgspec.DecodeError:
            return content.decode("utf-8", "replace")

    async def _answer(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        reader, writer = await self._send(method, path, body, query, headers=headers)
        try:
            status, answered = await _read_head(reader)
            return status, await _read_body(reader, answered)
        finally:
            writer.close()

    def _lost(self) -> None:
        """The engine was not there, or left before it had answered."""

    async def upgrade(
        self, path: str, body: Any, *, query: Mapping[str, str] | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that has become a raw stream (exec, attach)."""
        reader, writer = await self._send("POST", path, body, query, upgrade=True)
        async with asyncio.timeout(_HEAD_SECONDS):
            status, headers = await _read_head(reader)
        if status >= 400:
            content = await _read_body(reader, headers)
            writer.close()
            raise EngineError(status, _message(content))
        return reader, writer

    async def stream(self, path: str, *, query: Mapping[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An answer that goes on, as the raw bytes of its body (HTTP/1.0: no chunks). It may begin late."""
        path = await self._versioned(path)
        reader, writer = await self._connect()
        try:
            writer.write(f"GET {path}?{urllib.parse.urlencode(query)} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
            await writer.drain()
            await _refuse_failure(reader)
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def _versioned(self, path: str) -> str:
        """The path as this engine wants it."""
        return path

    async def _send(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, str] | None,
        *,
        upgrade: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = await self._versioned(path)
        reader, writer = await self._connect()
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        content = body if isinstance(body, bytes) else msgspec.json.encode(body) if body is not None else b""
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        head = f"{method} {target} HTTP/1.1\r\nHost: engine\r\nContent-Type: {kind}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else "Connection: close\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        return reader, writer


async def _refuse_failure(reader: asyncio.StreamReader) -> None:
    """Reads an answer's head. Raises EngineError with what a failed one says."""
    status, headers = await _read_head(reader)
    if status >= 400:
        raise EngineError(status, _message(await _read_body(reader, headers)))


def _message(content: bytes) -> str:
    try:
        found = msgspec.json.decode(content)
        return str(found.get("message") or found.get("cause") or found)
    except (msgspec.DecodeError, AttributeError):
        return content.decode("utf-8", "replace").strip()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    line = await reader.readline()
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[1].isdigit():
        raise ConnectionError(_CLOSED)
    headers = {}
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(parts[1]), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    try:
        return await _whole_body(reader, headers)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError(_CLOSED) from error


async def _whole_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        pieces = []
        while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        return b"".join(pieces)
    if "content-length" in headers:
        return await reader.readexactly(min(int(headers["content-length"]), _LONGEST_BODY_BYTES))
    return await reader.read(_LONGEST_BODY_BYTES)
