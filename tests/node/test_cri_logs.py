"""Reading CRI logs: partial lines, rotation, tails, times, limits, following."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.node import cri_logs

STAMP = "2026-01-02T03:04:%02d.123456789Z"


def line(text, *, second=0, tag="F", stream="stdout"):
    return f"{STAMP % second} {stream} {tag} {text}\n"


async def read(path, *, goes_on=lambda: False, **wanted):
    return b"".join([piece async for piece in cri_logs.read(path, cri_logs.Wanted(**wanted), goes_on=goes_on)]).decode()


async def test_partial_lines_are_joined_and_rotated_files_come_first(tmp_path):
    path = tmp_path / "0.log"
    (tmp_path / "0.log.2").write_text(line("one"))
    (tmp_path / "0.log.1").write_text(line("two") + line("thr", tag="P"))
    path.write_text(line("ee") + line("") + line("four five"))
    assert await read(path) == "one\ntwo\nthree\n\nfour five\n"


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (0, ""), (1, "five\n"), (2, "three\nfive\n"), (3, "two\nthree\nfive\n"), (4, "one\ntwo\nthree\nfive\n"),
        (9, "one\ntwo\nthree\nfive\n"),
    ],
)  # fmt: skip
async def test_tails_count_whole_lines_over_all_files(tmp_path, tail, expected):
    (tmp_path / "0.log.1").write_text(line("one") + line("two"))
    (tmp_path / "0.log").write_text(line("thr", tag="P") + line("ee") + line("five"))
    assert await read(tmp_path / "0.log", tail=tail) == expected


async def test_times_are_shown_and_selected(tmp_path):
    path = tmp_path / "0.log"
    path.write_text(line("a", second=1) + line("b", second=2) + line("c", second=3))
    since = 1767323042.0  # 03:04:02
    assert await read(path, since=since) == "b\nc\n"
    assert (await read(path, timestamps=True)).splitlines()[0] == f"{STAMP % 1} a"
    assert await read(path, limit_bytes=3) == "a\nb"


async def test_a_log_that_is_not_there_is_empty_and_a_broken_line_is_left_out(tmp_path):
    assert await read(tmp_path / "none.log") == ""
    (tmp_path / "0.log").write_bytes(b"garbage\n" + line("ok").encode() + b"\xff\xfe\n" + b"half a line")
    assert await read(tmp_path / "0.log") == "ok\n"


async def test_following_goes_over_a_rotation_and_ends_with_the_container(tmp_path):
    path = tmp_path / "0.log"
    path.write_text(line("one"))
    alive = [True]
    seen = []

    async def follow():
        async for piece in cri_logs.read(path, cri_logs.Wanted(follow=True), goes_on=lambda: alive[0]):
            seen.append(piece)

    task = asyncio.ensure_future(follow())
    while not seen:
        await asyncio.sleep(0)
    with path.open("a") as opened:
        opened.write(line("two"))
    path.rename(tmp_path / "0.log.1")
    path.write_text(line("three"))
    async with asyncio.timeout(5):
        while b"".join(seen) != b"one\ntwo\nthree\n":
            await asyncio.sleep(0.01)
    with path.open("a") as opened:
        opened.write(line("last"))
    alive[0] = False
    async with asyncio.timeout(5):
        await task
    assert b"".join(seen) == b"one\ntwo\nthree\nlast\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text("ab ", max_size=30), st.booleans()), max_size=20), st.integers(0, 12))
def test_a_tail_is_the_end_of_the_whole(tmp_path_factory, entries, tail):
    path = tmp_path_factory.mktemp("log") / "0.log"
    entries = [*entries, ("end", True)]
    path.write_text("".join(line(text, tag="F" if full else "P") for text, full in entries))
    whole = asyncio.run(read(path))
    lines = whole.splitlines(keepends=True)
    assert asyncio.run(read(path, tail=tail)) == "".join(lines[len(lines) - min(tail, len(lines)) :])


def test_of_the_runs_of_a_container_the_last_two_have_a_log(tmp_path):
    for name in ("0.log", "1.log", "1.log.1", "2.log", "2.log.1", "3.log", "other"):
        (tmp_path / name).touch()
    cri_logs.forget(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.log", "2.log.1", "3.log", "other"]
