"""A session with a container engine: its multiplexed frames (or a terminal's raw bytes) as `streams.Session`."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable

Resize = Callable[[int, int], Awaitable[None]]
_BLOCK_BYTES = 64 * 1024


class EngineSession:
    """Frames of 8 bytes (stream, length) and content; a terminal has no frames."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        resize: Resize,
        code: Callable[[], Awaitable[int]],
        end: Callable[[], Awaitable[None]],
        *,
        tty: bool,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._resize = resize
        self._code = code
        self._end = end
        self._tty = tty
        self._over = asyncio.Event()

    async def read(self) -> tuple[int, bytes] | None:
        try:
            if self._tty:
                data = await self._reader.read(_BLOCK_BYTES)
                if data:
                    return 1, data
            else:
                stream, length = struct.unpack(">BxxxI", await self._reader.readexactly(8))
                return (2 if stream == 2 else 1), await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self._over.set()
        return None

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def end_input(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def resize(self, *, width: int, height: int) -> None:
        await self._resize(width, height)

    async def wait(self) -> int:
        while not self._over.is_set():
            await self.read()
        return await self._code()

    async def close(self) -> None:
        ended = self._over.is_set()
        self._over.set()
        self._writer.close()
        if not ended:
            await self._end()
