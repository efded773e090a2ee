"""One connection to the shim of a process pod (docs/protocol.md, "The shim of a process pod").

Requests are answered in any order; each waits for the answer with its id. When the connection ends, every waiting
request fails with ShimGone and `on_gone` is called once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from fairlead.base import descriptors, log
from fairlead.node import streams

_log = log.get(__name__)

LONGEST_FRAME_BYTES = 64 * 1024 * 1024
_LONGEST_SOCKET_PATH = 100
_HEAD_BYTES, _READ_BYTES = 4, 1 << 16
_CLOSED = "the shim has closed the connection"

Message = dict[str, Any]


class ShimGone(Exception):
    """The shim has died or closed the connection."""


class ShimRefused(Exception):
    """The shim answered `error`; the message says why."""


class ShimConnection:
    """Speaks to one shim over a connected socket that does not block, which it owns. Made by `connect`.

    Frames go out before `tell` returns when the socket takes them: there is nothing between this and the socket, since
    each pod's start pays for it.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self.on_event: Callable[[Message], None] = lambda message: None
        self.on_gone: Callable[[], None] = lambda: None
        self._received = bytearray()
        self._unsent = bytearray()
        self._open = True
        self._loop.add_reader(connected, self._readable)

    async def request(self, kind: str, **fields: Any) -> Message:
        """Sends one request and returns its answer. Raises ShimRefused and ShimGone."""
        if not self._open:
            raise ShimGone(_CLOSED)
        number = str(next(self._ids))
        answer: asyncio.Future[Message] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            self.tell(kind, number, **fields)
            message = await answer
        finally:
            self._waiting.pop(number, None)
        if message["type"] == "error":
            raise ShimRefused(message.get("message", ""))
        return message

    def tell(self, kind: str, number: str, **fields: Any) -> None:
        """Sends a message whose answers, if any, come as events with that id (probes)."""
        if not self._open:
            return
        self._unsent += _frame(kind, number, fields)
        if not self._send():
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        if self._send():
            self._loop.remove_writer(self._socket)

    def _send(self) -> bool:
        """Whether nothing is left to send. A peer that is gone takes nothing; what it said before is still read."""
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
        return not self._unsent

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        try:
            while (body := self._next()) is not None:
                self._dispatch(msgspec.json.decode(body))
        except msgspec.MsgspecError:
            data = b""
        if not data:
            self._end()

    def _next(self) -> bytearray | None:
        """The next frame's body. Raises MsgspecError for one that is too long."""
        received = self._received
        if len(received) < _HEAD_BYTES:
            return None
        end = _HEAD_BYTES + int.from_bytes(received[:_HEAD_BYTES], "big")
        if end > LONGEST_FRAME_BYTES:
            raise msgspec.MsgspecError("a frame is too long")
        if len(received) < end:
            return None
        body = received[_HEAD_BYTES:end]
        del received[:end]
        return body

    def _dispatch(self, message: Message) -> None:
        answer = self._waiting.get(str(message.get("id")))
        if answer is None:
            self.on_event(message)
        elif not answer.done():
            answer.set_result(message)

    def _end(self, *, told: bool = True) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ShimGone(_CLOSED))
        if told:
            self.on_gone()

    async def close(self) -> None:
        """Closes the connection; the shim goes on."""
        self._end(told=False)


async def connect(folder: Path) -> ShimConnection:
    """A connection to the shim of that pod's folder. Raises OSError while nobody listens."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.setblocking(False)
    try:
        with _short_path(folder) as path:
            connected.connect(path)  # of a Unix socket: done at once, or refused
    except OSError:
        connected.close()
        raise
    return ShimConnection(connected)


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """The socket's path, through /proc where it is longer than a socket's address may be."""
    path = f"{folder}/shim.sock"
    if len(path) <= _LONGEST_SOCKET_PATH:
        yield path
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/shim.sock"
    finally:
        os.close(descriptor)


def _frame(kind: str, number: str, fields: Message) -> bytes:
    body = msgspec.json.encode({"type": kind, "id": number, **fields})
    return struct.pack(">I", len(body)) + body


async def open_stream(folder: Path, kind: str, **fields: Any) -> streams.ShimSession:
    """A session (`exec_stream` or `attach`) on a connection of its own. Raises ShimRefused and ShimGone."""
    try:
        with _short_path(folder) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
        writer.write(_frame(kind, "1", fields))
        while True:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            message = msgspec.json.decode(await reader.readexactly(length))
            if message["type"] == "started":
                return streams.ShimSession(reader, writer)
            if message["type"] == "error":
                writer.close()
                raise ShimRefused(message.get("message", ""))
    except (OSError, asyncio.IncompleteReadError) as error:
        raise ShimGone(str(error)) from error


def dial(folder: Path, port: int, *, timeout_seconds: float = 10.0) -> socket.socket:
    """A TCP connection to that port inside the pod's network. Blocking. Raises ShimRefused and ShimGone."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened, _short_path(folder) as path:
            opened.settimeout(timeout_seconds + 5)
            opened.connect(path)
            opened.sendall(_frame("dial", "1", {"port": port, "timeout_seconds": timeout_seconds}))
            return _receive_socket(opened)
    except OSError as error:
        raise ShimGone(str(error)) from error


def _receive_socket(opened: socket.socket) -> socket.socket:
    while True:
        head, found = descriptors.receive(opened, 4, most=1)
        if len(head) < 4:
            raise ShimGone("the shim closed the connection")
        body = b""
        (length,) = struct.unpack(">I", head)
        while len(body) < length:
            body += opened.recv(length - len(body)) or _closed()
        message = msgspec.json.decode(body)
        if found:
            return socket.socket(fileno=found[0])
        if message["type"] == "error":
            raise ShimRefused(message.get("message", ""))


def _closed() -> bytes:
    raise ShimGone("the shim closed the connection")


def last_line(folder: Path) -> str:
    """What the shim complained of last."""
    with contextlib.suppress(OSError):
        lines = (folder / "shim.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""
