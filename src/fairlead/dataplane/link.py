"""One connection to the engine's master: frames out at once, events in by a callback.

Promises: `send` writes before it returns when the socket takes it, so that a change of an endpoint is on its way in the
same turn of the loop; order is kept; file descriptors go with their frame's first byte and are closed here afterwards.
`on_lost` is called once, however the connection ends. Only a peer that is root or our own user is spoken to.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

from fairlead.base import log as logs
from fairlead.dataplane import wire

log = logs.get(__name__)
MAX_DESCRIPTORS = 200  # per frame; the kernel's limit is 253
_READ_BYTES = 1 << 18


class Link:
    """Owns the connected socket."""

    def __init__(
        self, connected: socket.socket, *, on_event: Callable[[wire.Event], None], on_lost: Callable[[str], None]
    ) -> None:
        self._socket = connected
        self._on_event = on_event
        self._on_lost = on_lost
        self._frames = wire.Frames()
        self._out: deque[tuple[memoryview, list[socket.socket]]] = deque()
        self._open = True
        self._is_full = False  # the loop says when the socket takes more
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connected, self._readable)

    @property
    def open(self) -> bool:
        return self._open

    def send(self, message: wire.Request, descriptors: Sequence[socket.socket] = ()) -> None:
        """Queues the message and writes what fits. A lost connection swallows it: the next `welcome` tells."""
        if not self._open:
            _close_all(descriptors)
            return
        self._out.append((memoryview(wire.encode(message)), list(descriptors)))
        if len(self._out) == 1:
            self._writable()

    def close(self) -> None:
        """Ends the connection without calling `on_lost`."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for _, descriptors in self._out:
            _close_all(descriptors)
        self._out.clear()

    def lose(self, why: str) -> None:
        """Ends the connection and calls `on_lost`."""
        if self._open:
            self.close()
            self._on_lost(why)

    def _writable(self) -> None:
        try:
            while self._out:
                data, descriptors = self._out[0]
                sent = self._write(data, descriptors)
                _close_all(descriptors)
                self._out[0] = (data[sent:], [])
                if sent < len(data):
                    continue
                self._out.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._writable)
            self._is_full = True
        except OSError as error:
            self.lose(f"writing: {error.strerror}")
        else:
            if self._is_full:
                self._loop.remove_writer(self._socket)
                self._is_full = False

    def _write(self, data: memoryview, descriptors: list[socket.socket]) -> int:
        if not descriptors:
            return self._socket.send(data)
        numbers = array.array("i", [one.fileno() for one in descriptors])
        return self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])

    def _hand_on(self, event: wire.Event) -> None:
        """A bug that one event sets off must not lose those that came with it: somebody waits for their acks."""
        try:
            self._on_event(event)
        except Exception as error:
            log.error("an event of the engine's is lost; this is a bug", error=error, type=type(event).__name__)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                self.lose("the engine closed the connection")
                return
            for body in self._frames.feed(data):
                self._hand_on(wire.decode_event(body))
                if not self._open:
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self.lose(f"reading: {error.strerror}")
        except wire.WireError as error:
            self.lose(str(error))


async def connect(path: str) -> socket.socket:
    """A connection to the master at that path. Raises OSError, PermissionError for a foreign peer."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(connected, path)
        _check_peer(connected, path)
    except BaseException:
        connected.close()
        raise
    return connected


def _close_all(descriptors: Sequence[socket.socket]) -> None:
    for one in descriptors:
        one.close()


def peer_pid(connected: socket.socket) -> int:
    """The process that listens there; 0 when it is in another pid namespace."""
    return _credentials(connected)[0]


def _credentials(connected: socket.socket) -> tuple[int, int]:
    pid, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _check_peer(connected: socket.socket, path: str) -> None:
    _, uid = _credentials(connected)
    if uid not in (0, os.geteuid()):
        raise PermissionError(f"{path} belongs to user {uid}")
