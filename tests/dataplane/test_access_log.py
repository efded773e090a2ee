"""The engine's access log in a file: whole lines, across a lost engine and a rotated file."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import tempfile
from pathlib import Path

import pytest

from fairlead.dataplane import access_log
from fairlead.testing import clock as clocks


async def test_lines_are_appended_and_the_engine_is_waited_for() -> None:
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        socket, path = f"{folder}/stats.sock", Path(folder) / "access.log"
        asked: list[bytes] = []
        ended = 0
        pieces = asyncio.Queue[bytes]()

        async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while piece := await pieces.get():
                writer.write(piece)
            writer.close()
            await writer.wait_closed()
            nonlocal ended
            ended += 1

        clock = clocks.FakeClock()
        following = asyncio.ensure_future(
            access_log.follow(socket, access_log.Destination(str(path)), clock=clock)
        )  # fmt: skip
        await clock.advance(5)  # nobody is there yet
        server = await asyncio.start_unix_server(engine, socket)
        await clock.advance(5)
        for piece in (b'{"a":1}\n{"b"', b":2}\n", b'{"half'):
            pieces.put_nowait(piece)
        await until(lambda: path.read_text().count("\n") == 2)
        assert path.read_text() == '{"a":1}\n{"b":2}\n'
        pieces.put_nowait(b"")
        path.rename(path.with_suffix(".old"))
        await until(lambda: len(asked) == 1)
        while len(asked) < 2:
            await clock.advance(1)
        pieces.put_nowait(b'{"c":3}\n')
        await until(path.exists)
        assert path.read_text() == '{"c":3}\n'
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        pieces.put_nowait(b"")
        await until(lambda: ended == 2)
        server.close()


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


def test_a_full_file_becomes_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    destination = access_log.Destination(str(path), most_bytes=10)
    for line in (b"0123456789\n", b"next\n"):
        destination.write(line)
    destination.close()
    assert (path.read_bytes(), (tmp_path / "access.log.1").read_bytes()) == (b"next\n", b"0123456789\n")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_loses_lines_and_the_log_goes_on_after_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    destination = access_log.Destination(str(path))
    for line in (b"lost\n", b"lost, too\n"):
        destination.write(line)
    path.unlink()
    destination.write(b"there\n")
    destination.close()
    assert path.read_bytes() == b"there\n"
    assert [record.fields for record in caplog.records] == [{"why": "No space left on device"}, {"lost_lines": 2}]


def test_a_line_after_one_that_is_partly_there_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    destination = access_log.Destination(str(path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        destination.write(b"first\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    destination.write(b"second\n")
    destination.close()
    assert path.read_bytes() == b"firs\nsecond\n"
