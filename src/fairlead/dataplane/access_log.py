"""The engine's access log into a file, or to standard output: bytes as they come, never parsed.

Promises: an engine that is away is waited for; a file that somebody moved (logrotate) is made anew, one over
`most_bytes` becomes FILE.1. The engine keeps a few megabytes while nobody reads and then drops lines; it never waits.
What a full disk (or a reader that has gone) does not take is lost, counted and told, and the log goes on after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

from fairlead.base import clock as clocks
from fairlead.base import log as logs

log = logs.get(__name__)
MOST_BYTES = 256 << 20
RETRY_SECONDS = 1.0
_REQUEST = b"GET /log HTTP/1.1\r\nHost: engine\r\n\r\n"


class Destination:
    """A file that is appended to; `-` is standard output. Raises OSError where it cannot be opened."""

    def __init__(self, name: str, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = None if name == "-" else Path(name)
        self._most_bytes = most_bytes
        self._torn = False  # the last line is only partly there
        self.lost_lines = 0  # since writing failed
        self._file: BinaryIO = sys.stdout.buffer if self._path is None else self._open(self._path)

    def write(self, data: bytes) -> None:
        """Appends whole lines, or loses them."""
        try:
            if self._path is not None:
                self._turn(self._path)
            self._append(b"\n" + data if self._torn else data)
        except OSError as error:
            if not self.lost_lines:
                log.error("the access log cannot be written", why=error.strerror)
            self.lost_lines += data.count(b"\n")
            return
        if self.lost_lines:
            log.warning("the access log is written again", lost_lines=self.lost_lines)
            self.lost_lines = 0

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._file.fileno(), rest)
            self._torn = rest[written - 1] != ord("\n")
            rest = rest[written:]

    def _turn(self, path: Path) -> None:
        own = os.fstat(self._file.fileno())
        try:
            there = path.stat()
        except FileNotFoundError:
            there = None
        if there is not None and own.st_size >= self._most_bytes and there.st_ino == own.st_ino:
            path.replace(f"{path}.1")
            there = None
        if there is None or (there.st_ino, there.st_dev) != (own.st_ino, own.st_dev):
            self._file.close()
            self._file = self._open(path)

    @staticmethod
    def _open(path: Path) -> BinaryIO:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640), "ab")

    def close(self) -> None:
        """Nothing is written any more."""
        if self._path is not None:
            self._file.close()


async def follow(socket: str, destination: Destination, *, clock: clocks.Clock) -> None:
    """Writes what the engine logs, until cancelled."""
    try:
        while True:
            with contextlib.suppress(_Away):
                await _read_once(socket, destination)
            await clock.sleep(RETRY_SECONDS)
    finally:
        destination.close()


class _Away(Exception):
    """The engine is not there, or no longer."""


async def _read_once(socket: str, destination: Destination) -> None:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError as error:
        raise _Away from error
    try:
        await _pass_on(reader, writer, destination)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, destination: Destination) -> None:
    try:
        writer.write(_REQUEST)
        await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):
        return
    rest = b""
    while True:
        try:
            data = await reader.read(1 << 18)
        except OSError:
            data = b""
        if not data:
            return
        whole, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            destination.write(whole + newline)
