"""What was acknowledged is there: after `kill -9`, a thousand times, and after loss of power at any moment.

For the loss of power, the file operations of a writer are recorded (record_io.c); the files are then built as they
may have been at any moment: what was synced, plus any part of what was written since. The same test must fail
without syncs.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fairlead.store import log, protocol

from . import writer

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
KILLS = 1000
SECTOR = 512


def environment(**more: str) -> dict[str, str]:
    source = HERE.parents[1] / "src"
    return {**os.environ, "PYTHONPATH": f"{source}:{HERE.parents[1]}", **more}


def read_acks(text: str) -> dict[str, int]:
    """Key -> newest acknowledged revision; a last line without its end was not finished."""
    found: dict[str, int] = {}
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            revision, key = line.split()
            found[key] = max(found.get(key, 0), int(revision))
    return found


def check(path: Path, acked: dict[str, int]) -> int:
    """Opens the file as the store does; returns its revision. Raises AssertionError for what is missing or torn."""
    opened = log.Log(path)
    loaded = opened.load()
    opened.close()
    entries, revision = loaded.entries, loaded.revision
    held = {entry.key: entry for entry in entries}
    for key, acknowledged in acked.items():
        assert key in held and held[key].revision >= acknowledged, f"{key} lost revision {acknowledged}"
    for entry in entries:
        assert entry.value == writer.body(entry.key, entry.revision), "a value is torn"
    assert revision >= max(acked.values(), default=0)
    return revision


async def begun(said: Path, *, enough: bool) -> None:
    """Returns when the writer has had its first write acknowledged (mostly), or a little after its start."""
    for _ in range(2000 if enough else 4):
        if said.exists() and said.stat().st_size:
            return
        await asyncio.sleep(0.001)


@pytest.mark.timeout(400)
async def test_a_thousand_kills_lose_nothing(tmp_path: Path) -> None:
    """Of four stores side by side: a writer mostly waits for its disk."""
    await asyncio.gather(*(killed_again_and_again(tmp_path / str(lane), range(lane, KILLS, 4)) for lane in range(4)))


async def killed_again_and_again(folder: Path, seeds: range) -> None:
    """A writer of one store is killed once for each seed; after each kill the store is looked at."""
    database, acks = folder / "store.db", folder / "acks"
    acks.mkdir(parents=True)
    source, acked, revision = random.Random(seeds.start), {}, 0
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.writer", "serve", str(database), str(acks),
        stdin=pipe, stdout=pipe, env=environment(), cwd=HERE.parents[1],
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    for count, seed in enumerate(seeds):
        server.stdin.write(f"{seed}\n".encode())
        pid = int(await server.stdout.readline())
        await begun(acks / str(seed), enough=count % 4 == 0)
        await asyncio.sleep(source.uniform(0.0, 0.015))  # a random moment is the point
        os.kill(pid, signal.SIGKILL)
        await server.stdout.readline()
        said = acks / str(seed)
        if said.exists():
            acked |= {key: max(acked.get(key, 0), number) for key, number in read_acks(said.read_text()).items()}
            said.unlink()
        if database.exists() and database.stat().st_size:
            now = check(database, acked)
            assert now >= revision, "revisions went back"
            revision = now
    server.stdin.close()
    await server.wait()
    assert revision > len(seeds) // 10, "the writers wrote"


@dataclass(slots=True)
class Operation:
    """One recorded call."""

    kind: str
    path: str
    offset: int
    data: bytes


@dataclass(slots=True)
class File:
    """What is on the disk for sure, and what may be. Its name is there, or gone, for sure once its folder was
    synced."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)
    names: set[bool] = field(default_factory=lambda: {True, False})
    gone: bool = False

    def built(self, chosen: list[Operation]) -> bytes:
        content = bytearray(self.durable)
        for operation in chosen:
            apply(content, operation)
        return bytes(content)


def apply(content: bytearray, operation: Operation) -> None:
    if operation.kind == "t":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
        return
    content.extend(bytes(max(0, operation.offset - len(content))))
    content[operation.offset : operation.offset + len(operation.data)] = operation.data


def operations(recording: Path) -> Iterator[Operation]:
    data, at = recording.read_bytes(), 0
    while at < len(data):
        kind, size, offset, length = struct.unpack_from("<cHQI", data, at)
        path = data[at + 15 : at + 15 + size].decode()
        at += 15 + size
        content = data[at : at + length] if kind == b"w" else b""
        at += len(content)
        yield Operation(kind.decode(), path, offset, content)


def torn(operation: Operation, source: random.Random) -> Operation:
    """Some leading sectors of a write."""
    kept = source.randrange(0, len(operation.data) // SECTOR + 1) * SECTOR
    return Operation(operation.kind, operation.path, operation.offset, operation.data[:kept])


def choices(pending: list[Operation], source: random.Random) -> Iterator[list[Operation]]:
    """What may have reached the disk of the writes since the last sync: nothing, all, the first few, any of them."""
    yield []
    yield list(pending)
    if pending:
        yield pending[: source.randrange(len(pending))]
        chosen = [one for one in pending if source.random() < 0.5]
        yield [torn(one, source) if one.kind == "w" and source.random() < 0.3 else one for one in chosen]


def record(tmp_path: Path, *, synchronous: str, number: int) -> Path:
    """Runs a writer under the recorder; returns the recording."""
    library, folder, recording = tmp_path / "record.so", tmp_path / "state", tmp_path / "recording"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "record_io.c", "-ldl"], check=True)
    folder.mkdir()
    more = {"LD_PRELOAD": str(library), "RECORD_FOLDER": str(folder), "RECORD_FILE": str(recording)}
    command = [
        sys.executable,
        "-m",
        "tests.store.writer",
        folder / "store.db",
        folder / "acks",
        synchronous,
        str(number),
    ]
    subprocess.run(command, check=True, env=environment(**more), cwd=HERE.parents[1], timeout=120)
    return recording


def lose_power_everywhere(recording: Path, scratch: Path) -> int:
    """Builds and checks the store at every moment; returns how many. Raises AssertionError or Refused for a loss."""
    source, acks, built, files = random.Random(3), "", 0, dict[str, File]()
    folder = str(recording.parent / "state")
    scratch.mkdir()
    for operation in operations(recording):
        name = operation.path.rpartition("/")[2]
        if name == "acks":
            acks += operation.data.decode()
            continue
        if operation.path == folder:
            for file in files.values():
                file.names = {False} if file.gone else {True}
            continue
        file = files.setdefault(name, File())
        if operation.kind == "u":
            file.gone, file.names = True, file.names | {False}
            continue
        if operation.kind != "s":
            if file.gone:
                files[name] = file = File(names=file.names | {True})
            file.pending.append(operation)
            continue
        for other in files.values():  # just before the sync, every file may hold any part of what was written
            for chosen in choices(other.pending, source):
                built += 1
                for path, one in files.items():
                    own = chosen if one is other else source.choice(list(choices(one.pending, source)))
                    if source.choice(sorted(one.names)):
                        (scratch / path).write_bytes(one.built(own))
                check(scratch / "store.db", read_acks(acks))
                for left in scratch.iterdir():
                    left.unlink()
        for one in file.pending:
            apply(file.durable, one)
        file.pending.clear()
    return built


@pytest.mark.timeout(300)
def test_power_may_be_lost_at_any_moment(tmp_path: Path) -> None:
    recording = record(tmp_path, synchronous="FULL", number=70)
    assert lose_power_everywhere(recording, tmp_path / "scratch") > 300


@pytest.mark.timeout(300)
def test_without_syncs_the_same_loss_is_found(tmp_path: Path) -> None:
    recording = record(tmp_path, synchronous="OFF", number=70)
    acks = "".join(one.data.decode() for one in operations(recording) if one.path.endswith("/acks"))
    files = {one.path.rpartition("/")[2]: File() for one in operations(recording)}
    for one in operations(recording):
        if one.kind == "s":
            file = files[one.path.rpartition("/")[2]]
            for write in file.pending:
                apply(file.durable, write)
            file.pending.clear()
        elif not one.path.endswith("/acks"):
            files[one.path.rpartition("/")[2]].pending.append(one)
    (tmp_path / "after").mkdir()
    for name, file in files.items():
        if name != "acks" and file.durable:
            (tmp_path / "after" / name).write_bytes(file.durable)
    with pytest.raises((AssertionError, protocol.Refused)):
        check(tmp_path / "after" / "store.db", read_acks(acks))
