"""Copies the log stream of a container of Docker's into a log in the CRI format, rotated by size.

Promises: a copy that begins anew goes on after the last line that is written (its time tells); a line that Docker cut
is marked `P`; what was written before the container ended is copied before `copy` returns. A full disk loses lines,
never the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from fairlead.base import clock, log
from fairlead.node import engine_http

_log = log.get(__name__)
_FILES = 5
_STREAMS = {1: b"stdout", 2: b"stderr"}


async def copy(http: engine_http.EngineHttp, path: str, target: str, *, tty: bool, limit_bytes: int) -> None:
    """Returns when the stream has ended. Never raises but when cancelled."""
    if not target:
        return
    file = Path(target)
    last = _last_time(file)
    query = {"follow": "true", "stdout": "true", "stderr": "true", "timestamps": "true"}
    if last:
        query["since"] = f"{clock.parse_rfc3339(_micros(last)):.6f}"
    try:
        async for stream, entry in _entries(http, path, query, tty=tty):
            time, _, text = entry.partition(b" ")
            if last and time.decode("latin-1") <= last:
                continue
            _append(file, _line(time, _STREAMS.get(stream, b"stdout"), text), limit_bytes)
    except (engine_http.EngineError, OSError, asyncio.IncompleteReadError) as error:
        _log.warning("a container's log is not copied on", log=target, why=str(error))


def _line(time: bytes, stream: bytes, text: bytes) -> bytes:
    whole = b"F" if text.endswith(b"\n") else b"P"
    return b" ".join((time, stream, whole, text.rstrip(b"\r\n"))) + b"\n"


async def _entries(
    http: engine_http.EngineHttp, path: str, query: dict[str, str], *, tty: bool
) -> AsyncIterator[tuple[int, bytes]]:
    """(stream, `TIME text`) as Docker sends them: framed, or lines of a terminal."""
    reader, writer = await http.stream(path, query=query)
    try:
        while True:
            if tty:
                line = await reader.readline()
                if not line:
                    return
                yield 1, line
                continue
            stream, length = struct.unpack(">BxxxI", await reader.readexactly(8))
            yield stream, await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return
    finally:
        writer.close()


def _append(file: Path, line: bytes, limit_bytes: int) -> None:
    with contextlib.suppress(OSError):
        if file.exists() and file.stat().st_size + len(line) > limit_bytes:
            _rotate(file)
        with file.open("ab") as opened:
            opened.write(line)


def _rotate(file: Path) -> None:
    for number in range(_FILES - 2, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{file}.{number}").rename(f"{file}.{number + 1}")
    file.rename(f"{file}.1")


def _last_time(file: Path) -> str:
    """The time of the last line that is written; "" for a log that is empty."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - 64 * 1024))
            lines = opened.read().splitlines()
    except OSError:
        return ""
    return lines[-1].split(b" ", 1)[0].decode("latin-1") if lines else ""


def _micros(text: str) -> str:
    """A time with at most six digits of a second, which is what `parse_rfc3339` takes."""
    head, dot, rest = text.partition(".")
    digits = rest.rstrip("Z").split("+")[0].split("-")[0]
    return f"{head}.{digits[:6]}{rest[len(digits) :]}" if dot else text
