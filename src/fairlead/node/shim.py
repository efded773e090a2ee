"""One connection to the shim of a process pod (docs/protocol.md, "The shim of a process pod").

Requests are answered in any order; each waits for the answer with its id. When the connection ends, every waiting
request fails with ShimGone and `on_gone` is called once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fairlead.base import log

_log = log.get(__name__)

LONGEST_FRAME_BYTES = 64 * 1024 * 1024
_LONGEST_SOCKET_PATH = 100

Message = dict[str, Any]


class ShimGone(Exception):
    """The shim has died or closed the connection."""


class ShimRefused(Exception):
    """The shim answered `error`; the message says why."""


class ShimConnection:
    """Speaks to one shim. Made by `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self.on_event: Callable[[Message], None] = lambda message: None
        self.on_gone: Callable[[], None] = lambda: None
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._receive(), name="node/shim")

    async def request(self, kind: str, **fields: Any) -> Message:
        """Sends one request and returns its answer. Raises ShimRefused and ShimGone."""
        if self._task.done():
            raise ShimGone("the shim has closed the connection")
        number = str(next(self._ids))
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self.tell(kind, number, **fields)
            await self._writer.drain()
            message = await answer
        except ConnectionError as error:
            raise ShimGone(str(error)) from error
        finally:
            self._waiting.pop(number, None)
        if message["type"] == "error":
            raise ShimRefused(message.get("message", ""))
        return message

    def tell(self, kind: str, number: str, **fields: Any) -> None:
        """Sends a message whose answers, if any, come as events with that id (probes)."""
        body = msgspec.json.encode({"type": kind, "id": number, **fields})
        self._writer.write(struct.pack(">I", len(body)) + body)

    async def _receive(self) -> None:
        try:
            while True:
                (length,) = struct.unpack(">I", await self._reader.readexactly(4))
                if length > LONGEST_FRAME_BYTES:
                    return
                self._dispatch(msgspec.json.decode(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError, ShimGone):
            pass
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ShimGone("the shim has closed the connection"))
            self._writer.close()
            if not self._closing:
                self.on_gone()

    def _dispatch(self, message: Message) -> None:
        answer = self._waiting.get(str(message.get("id")))
        if answer is None:
            self.on_event(message)
        elif not answer.done():
            answer.set_result(message)

    async def close(self) -> None:
        """Closes the connection; the shim goes on."""
        self._closing = True
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def connect(folder: Path) -> ShimConnection:
    """A connection to the shim of that pod's folder. Raises OSError while nobody listens."""
    path = str(folder / "shim.sock")
    if len(path) <= _LONGEST_SOCKET_PATH:
        return ShimConnection(*await asyncio.open_unix_connection(path, limit=1 << 20))
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        short = f"/proc/self/fd/{descriptor}/shim.sock"
        return ShimConnection(*await asyncio.open_unix_connection(short, limit=1 << 20))
    finally:
        os.close(descriptor)


def last_line(folder: Path) -> str:
    """What the shim complained of last."""
    with contextlib.suppress(OSError):
        lines = (folder / "shim.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""
