"""exec, attach, cp, logs and port-forward with the real kubectl and the official client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.apiserver.streams import spdy
from fairlead.client import rest
from fairlead.testing import pod_door

from . import kubectl

pytestmark = pytest.mark.system

POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}


@pytest.fixture(autouse=True)
async def pod(client: rest.RestClient) -> None:
    from fairlead.api import kinds

    await client.create(kinds.POD, POD, namespace="default")
    await client.patch(kinds.POD, "p", {"status": {"phase": "Running"}}, namespace="default", subresource="status")


async def test_exec_carries_streams_and_exit_code(run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    result = await run("exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert result.out == "out\n" and "err\n" in result.err and "exit code 7" in result.err


async def test_exec_carries_standard_input(run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    text = "a line\n" * 20_000
    result = await run("exec", "-i", "p", "--", "cat", stdin=text)
    assert result.out == text


async def test_exec_refusals_are_said(run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    assert "container nope" in (await run("exec", "p", "-c", "nope", "--", "true", code=1)).err
    assert "not found" in (await run("exec", "absent", "--", "true", code=1)).err


async def test_copy(run: kubectl.Kubectl, door: pod_door.FakePodDoor, tmp_path: Path) -> None:
    (tmp_path / "from.txt").write_text("content")
    await run("cp", str(tmp_path / "from.txt"), f"p:{tmp_path}/to.txt")
    assert (tmp_path / "to.txt").read_text() == "content"
    await run("cp", f"p:{tmp_path}/to.txt", str(tmp_path / "back.txt"))
    assert (tmp_path / "back.txt").read_text() == "content"


async def test_attach(run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    result = await run("attach", "-i", "p", stdin="hello\n")
    assert "hello" in result.out


async def test_logs(run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    for number in range(5):
        await door.add_line(b"line %d" % number)
    assert (await run("logs", "p")).out.splitlines()[-1] == "line 4"
    assert (await run("logs", "p", "--tail=2", "--timestamps")).out == "line 3\nline 4\n"
    assert door.asked[-1].timestamps and door.asked[-1].tail_lines == 2
    assert "previous terminated container" in (await run("logs", "p", "--previous", code=1)).err
    following = await run.start("logs", "-f", "p", "--tail=1")
    assert following.stdout is not None
    assert await asyncio.wait_for(following.stdout.readline(), 20) == b"line 4\n"
    await door.add_line(b"new")
    assert await asyncio.wait_for(following.stdout.readline(), 20) == b"new\n"
    following.terminate()
    await following.communicate()


@contextlib.asynccontextmanager
async def _echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()


async def test_port_forward(run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    async with _echo() as port:
        door.ports[80] = port
        forward = await run.start("port-forward", "p", ":80")
        assert forward.stdout is not None
        line = (await asyncio.wait_for(forward.stdout.readline(), 20)).decode()
        local = int(line.split("127.0.0.1:")[1].split(" ")[0])
        try:
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", local)
                sent = b"x" * 300_000
                writer.write(sent)
                writer.write_eof()
                assert await asyncio.wait_for(reader.read(-1), 20) == sent
                writer.close()
        finally:
            forward.terminate()
            await forward.communicate()


def test_spdy_frames_in_any_pieces() -> None:
    client, server_side = spdy.Codec(), spdy.Codec()
    stream = client.open(1, {"streamtype": "data", "port": "8080", "requestid": "0"}) + spdy.data(1, b"abc", fin=True)
    frames = [frame for index in range(len(stream)) for frame in server_side.feed(stream[index : index + 1])]
    assert [frame.kind for frame in frames] == [spdy.SYN_STREAM, 0]
    assert frames[0].header("port") == "8080" and frames[1].data == b"abc" and frames[1].fin
    with pytest.raises(spdy.SpdyError):
        spdy.Codec().feed(b"\x80\x02\x00\x01\x00\x00\x00\x00")


async def test_a_refusal_of_the_node_agent_reaches_the_user(run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    assert "No such file" in (await run("exec", "p", "--", "/no/such/program", code=1)).err
