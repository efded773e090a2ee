"""Reads container logs in Kubernetes' CRI format (`TIME stdout|stderr F|P line`), rotated files included.

`LOG.1` is newer than `LOG.2`; the live file is `LOG`. A partial line (`P`) is joined with what follows. Following looks
at the file ten times a second, notices rotation by its inode, and ends when the container has ended and all is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fairlead.base import clock

_BLOCK_BYTES = 64 * 1024
_LOOK_SECONDS = 0.1
_LONGEST_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a log to give. `since` is seconds since 1970."""

    follow: bool = False
    since: float | None = None
    tail: int | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


async def read(path: Path, wanted: Wanted, *, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log in pieces of whole lines. A log that is not there is empty."""
    left = wanted.limit_bytes
    async for piece in _pieces(path, wanted, goes_on):
        if left is not None:
            piece, left = piece[:left], left - len(piece)
        if piece:
            yield piece
        if left is not None and left <= 0:
            return


async def _pieces(path: Path, wanted: Wanted, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
    files = _open_all(path)
    try:
        if wanted.tail is not None:
            _seek_tail(files, wanted.tail)
        for file in files:
            for block in _blocks(file):
                yield _render(block, wanted)
                await asyncio.sleep(0)
        if wanted.follow:
            live = files.pop() if files else None
            async for piece in _follow(path, live, wanted, goes_on):
                yield piece
    finally:
        for file in files:
            file.close()


def _open_all(path: Path) -> list[BinaryIO]:
    """Oldest first, the live file last."""
    found: list[BinaryIO] = []
    numbers = sorted(
        (int(entry.suffix[1:]) for entry in path.parent.glob(f"{path.name}.*") if entry.suffix[1:].isdigit()),
        reverse=True,
    )
    for name in [f"{path}.{number}" for number in numbers] + [str(path)]:
        with contextlib.suppress(FileNotFoundError):
            found.append(open(name, "rb", buffering=0))  # noqa: SIM115, PTH123 - closed by the reader
    return found


def _seek_tail(files: list[BinaryIO], lines: int) -> None:
    """Moves the files so that only that many last lines are left."""
    missing = lines
    for file in reversed(files):
        at = file.seek(0, os.SEEK_END)
        if missing <= 0:
            continue
        start, found = _tail_start(file, at, missing)
        file.seek(start)
        missing -= found


def _tail_start(file: BinaryIO, end: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` full lines of the file begin, and how many there are."""
    at, found = end, 0
    boundary = end
    while at > 0:
        size = min(_BLOCK_BYTES, at)
        at -= size
        file.seek(at)
        block = file.read(size)
        position = len(block)
        while (position := block.rfind(b"\n", 0, position)) >= 0:
            here = at + position + 1
            if here < end and _is_full_before(file, here):
                found += 1
                boundary = here
                if found == lines:
                    return boundary, found
    return 0, found + 1 if end else 0


def _is_full_before(file: BinaryIO, position: int) -> bool:
    """Whether the entry that ends at `position` is a full line (its tag is F)."""
    back = min(position, _LONGEST_LINE_BYTES // 16)
    here = file.tell()
    file.seek(position - back)
    entry = file.read(back).rstrip(b"\n").rsplit(b"\n", 1)[-1]
    file.seek(here)
    parts = entry.split(b" ", 3)
    return len(parts) < 3 or parts[2] != b"P"


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines in blocks; what is no whole line yet is left in the file."""
    while True:
        start = file.tell()
        block = file.read(_BLOCK_BYTES)
        cut = block.rfind(b"\n") + 1
        while block and not cut and len(block) < _LONGEST_LINE_BYTES:
            more = file.read(_BLOCK_BYTES)
            if not more:
                break
            block += more
            cut = block.rfind(b"\n") + 1
        if not cut:
            file.seek(start)
            return
        file.seek(start + cut)
        yield block[:cut]


def _render(block: bytes, wanted: Wanted) -> bytes:
    out: list[bytes] = []
    for line in block.split(b"\n")[:-1]:
        parts = line.split(b" ", 3)
        if len(parts) < 3:
            continue
        if wanted.since is not None and _stamp(parts[0]) < wanted.since:
            continue
        if wanted.timestamps:
            out += [parts[0], b" "]
        out.append(parts[3] if len(parts) > 3 else b"")
        if parts[2] != b"P":
            out.append(b"\n")
    return b"".join(out)


def _stamp(text: bytes) -> float:
    try:
        return clock.parse_rfc3339(_six_decimals(text.decode()))
    except ValueError:
        return 0.0


def _six_decimals(text: str) -> str:
    """Python's parser before 3.12 knows six decimals, CRI writes nine."""
    head, dot, rest = text.partition(".")
    if not dot:
        return text
    zone = rest.lstrip("0123456789")
    return f"{head}.{rest[: len(rest) - len(zone)][:6]}{zone}"


async def _follow(
    path: Path, live: BinaryIO | None, wanted: Wanted, goes_on: Callable[[], bool]
) -> AsyncIterator[bytes]:
    try:
        while True:
            last_look = not goes_on()
            if live is None:
                with contextlib.suppress(FileNotFoundError):
                    live = path.open("rb", buffering=0)
            if live is not None:
                for block in _blocks(live):
                    yield _render(block, wanted)
                if _was_rotated(path, live):
                    for block in _blocks(live):
                        yield _render(block, wanted)
                    live.close()
                    live = None
                    continue
            if last_look:
                return
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        if live is not None:
            live.close()


def _was_rotated(path: Path, live: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(live.fileno()).st_ino
    except FileNotFoundError:
        return False


def forget(folder: Path, run: int) -> None:
    """Before that run of a container: of its logs only the one before's is kept, as the kubelet keeps one dead
    container; a container that ends again and again would fill the disk."""
    for path in folder.glob("*.log*"):
        number = path.name.partition(".")[0]
        if number.isdigit() and int(number) < run - 1:
            path.unlink(missing_ok=True)
