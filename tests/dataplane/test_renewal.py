"""After an upgrade of fairlead the engine that it adopts becomes the new binary, and nobody is cut off."""

import asyncio
import pathlib
import shutil
import socket

import pytest

from fairlead.base import clock
from fairlead.dataplane import engine, renewal, spawn
from fairlead.routing import table

try:
    BINARY = spawn.find_binary()
except spawn.EngineMissing:
    BINARY = ""
pytestmark = [pytest.mark.system, pytest.mark.skipif(not BINARY, reason="no fairlead-engine was built")]
WEB = "default/web:80"


async def connected(folder, failures, binary):
    made = engine.EnginePlane(
        str(folder / "engine.sock"),
        clock=clock.SystemClock(),
        on_failure=lambda *failure: failures.append(failure),
        binary=str(binary),
    )
    await made.start()
    async with asyncio.timeout(10):
        await made.connected()
    return made


@pytest.fixture
def versions(folder):
    """Two engines that differ in a byte that nobody reads."""
    old, new = folder / "old" / "fairlead-engine", folder / "new" / "fairlead-engine"
    for one in (old, new):
        one.parent.mkdir()
        shutil.copy(BINARY, one)
    with new.open("ab") as file:
        file.write(b"\0")
    return old, new


@pytest.fixture
async def echo():
    async def answer(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def structure(port):
    listener = table.Listener(id="web", protocol="tcp", sockets=(f"tcp:127.0.0.1:{port}",), backend=WEB)
    return table.Structure(listeners={listener.id: listener}, backends={WEB: table.Backend(id=WEB, protocol="tcp")})


async def say(stream, text):
    reader, writer = stream
    writer.write(text)
    async with asyncio.timeout(10):
        return await reader.readexactly(len(text))


async def test_an_adopted_engine_becomes_the_new_binary_and_keeps_its_connections(folder, failures, versions, echo):
    old, new = versions
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wanted = structure(port)
    endpoints = [table.BackendEndpoints(backend=WEB, endpoints=(table.Endpoint(address="127.0.0.1", port=echo),))]
    first = await connected(folder, failures, old)
    await first.apply_endpoints(endpoints)
    await first.acked(await first.apply(wanted))
    kept = await asyncio.open_connection("127.0.0.1", port)
    assert await say(kept, b"before") == b"before"
    master, worker = first.pids
    await first.close()

    second = await connected(folder, failures, new)
    await second.apply_endpoints(endpoints)
    await second.apply(wanted)
    async with asyncio.timeout(20):
        while second.pids[1] == worker:
            await asyncio.sleep(0.01)
    assert second.pids[0] == master
    assert pathlib.Path(f"/proc/{master}/exe").resolve() == new
    assert await say(kept, b"after") == b"after"
    fresh = await asyncio.open_connection("127.0.0.1", port)
    assert await say(fresh, b"new") == b"new"
    for _, writer in (kept, fresh):
        writer.close()
        await writer.wait_closed()
    await second.shutdown(grace_seconds=0)
    await second.close()


async def test_the_same_engine_is_left_as_it_is(folder, failures, versions):
    old, new = versions
    plane = await connected(folder, failures, old)
    master = plane.pids[0]
    moved = folder / "fairlead-engine"
    shutil.copy(old, moved)
    assert [renewal.is_outdated(master, str(one)) for one in (old, moved, new)] == [False, False, True]
    assert not renewal.is_outdated(master, str(folder / "none"))
    await plane.shutdown(grace_seconds=0)
    await plane.close()
