"""Which version of its API a Docker daemon is spoken to in."""

import asyncio
import json
import re

import pytest

from fairlead.node import docker, podman


@pytest.mark.parametrize(
    ("said", "spoken"),
    [
        ({"ApiVersion": "1.41", "MinAPIVersion": "1.12"}, "/v1.41"),  # Docker 20.10
        ({"ApiVersion": "1.48", "MinAPIVersion": "1.24"}, "/v1.41"),  # Docker 28
        ({"ApiVersion": "1.52", "MinAPIVersion": "1.44"}, "/v1.44"),  # Docker 29
        ({"ApiVersion": "1.40", "MinAPIVersion": "1.12"}, "/v1.40"),  # Docker 19.03
        ({"ApiVersion": "2.0", "MinAPIVersion": "2.0"}, "/v2.0"),
        ({}, "/v1.41"),
        ({"ApiVersion": "new", "MinAPIVersion": None}, "/v1.41"),
        ("no JSON", "/v1.41"),
    ],
)
def test_it_is_ours_or_the_nearest_that_the_daemon_takes(said, spoken):
    assert docker.nearest(said) == spoken


class Daemon:
    """Answers as Docker does to versions that it takes and to those that it does not (moby's version middleware)."""

    def __init__(self, lowest, highest):
        self.lowest, self.highest, self.asked = lowest, highest, []

    async def serve(self, reader, writer):
        _, target, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        self.asked.append(target.partition("?")[0])
        status, body = self.answer(target)
        content = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()

    def answer(self, target):
        spoken = re.match(r"/v1\.(\d+)/", target)
        if spoken and int(spoken[1]) < self.lowest:
            return 400, {"message": f"client version 1.{spoken[1]} is too old"}
        if spoken and int(spoken[1]) > self.highest:
            return 400, {"message": f"client version 1.{spoken[1]} is too new"}
        if target.endswith("/version"):
            return 200, {"Version": "x", "ApiVersion": f"1.{self.highest}", "MinAPIVersion": f"1.{self.lowest}"}
        return 200, {"Id": "1"}


async def test_an_answer_that_breaks_off_is_a_lost_connection(tmp_path):
    """Not a bug of ours: who waits for a container's end asks again."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        writer.close()

    async with await asyncio.start_unix_server(serve, str(tmp_path / "docker.sock")):
        with pytest.raises(ConnectionError, match="closed the connection"):
            await docker.Docker(str(tmp_path / "docker.sock"), podman.EngineSettings({})).version()


async def test_it_is_asked_once_and_again_after_the_daemon_was_gone(tmp_path):
    path = str(tmp_path / "docker.sock")
    old, new = Daemon(12, 41), Daemon(44, 52)
    engine = docker.Docker(path, podman.EngineSettings({}))
    async with await asyncio.start_unix_server(old.serve, path):
        assert await engine.version() == "x"
        assert await engine.has_image("app:1")
    assert old.asked == ["/version", "/v1.41/version", "/v1.41/images/app:1/json"]
    (tmp_path / "docker.sock").unlink(missing_ok=True)
    with pytest.raises(OSError, match="No such file"):
        await engine.inspect("1")
    async with await asyncio.start_unix_server(new.serve, path):
        assert await engine.inspect("1") == {"Id": "1"}
    assert new.asked == ["/version", "/v1.44/containers/1/json"]
