"""A command (or a container's own streams) that somebody talks to: `kubectl exec -it`, `attach`.

The methods are those that the API server's door asks of a session. Frames are the shim's (docs/protocol.md, Streams): a
byte for the channel, and bytes. A session that is closed ends its command; an attached container goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Protocol

import msgspec

_INPUT, _OUTPUT, _ERRORS, _END, _SIZE = range(5)
_LOST = 137


class Session(Protocol):
    """Somebody's conversation with a process."""

    async def read(self) -> tuple[int, bytes] | None:
        """(1 or 2, bytes); None when both have ended."""

    async def write(self, data: bytes) -> None: ...

    async def end_input(self) -> None: ...

    async def resize(self, *, width: int, height: int) -> None: ...

    async def wait(self) -> int:
        """The exit code, 128 + signal for a process that a signal ended."""

    async def close(self) -> None: ...


class ShimSession:
    """A session on a connection of its own to a shim, after `started`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def read(self) -> tuple[int, bytes] | None:
        while True:
            try:
                (length,) = struct.unpack(">I", await self._reader.readexactly(4))
                frame = await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                self._ended(_LOST)
                return None
            if frame[:1] == bytes([_END]):
                found = msgspec.json.decode(frame[1:])
                self._ended(int(found.get("exit_code") or 0))
                return None
            if frame and frame[0] in (_OUTPUT, _ERRORS):
                return frame[0], frame[1:]

    def _ended(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)

    async def write(self, data: bytes) -> None:
        if data:
            await self._send(_INPUT, data)

    async def end_input(self) -> None:
        await self._send(_INPUT, b"")

    async def resize(self, *, width: int, height: int) -> None:
        await self._send(_SIZE, msgspec.json.encode({"width": width, "height": height}))

    async def _send(self, channel: int, data: bytes) -> None:
        self._writer.write(struct.pack(">IB", len(data) + 1, channel) + data)
        with contextlib.suppress(ConnectionError):  # it has ended; `read` says so
            await self._writer.drain()

    async def wait(self) -> int:
        while not self._code.done():
            await self.read()
        return self._code.result()

    async def close(self) -> None:
        self._ended(_LOST)
        self._writer.close()
