"""`fairlead lb`: any servers, balanced, from flags or a file that may change under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system import load, local

pytestmark = pytest.mark.system


@contextlib.asynccontextmanager
async def server(name: str) -> AsyncIterator[int]:
    """An HTTP server that answers with its name."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())
        writer.close()

    serving = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield serving.sockets[0].getsockname()[1]
    finally:
        serving.close()


@contextlib.asynccontextmanager
async def balancer(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`fairlead lb` with those arguments, listening; ended by SIGTERM, which it must obey with status 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "fairlead.cli.main", "lb", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    first = await asyncio.wait_for(process.stdout.readline(), 30)
    assert first.startswith(b"listening"), first + await process.stderr.read()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0


async def names(port: int, count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    for _ in range(count):
        connection = load.Connection("127.0.0.1", port)
        status, body = await connection.get("/")
        connection.close()
        assert status == 200, body
        seen[body] += 1
    return seen


async def test_servers_from_flags_are_balanced_by_weight() -> None:
    port = local.free_port()
    async with server("a") as first, server("b") as second:
        flags = ("--to", f"127.0.0.1:{first}", "--to", f"127.0.0.1:{second},weight=2")
        async with balancer("--listen", f"http://127.0.0.1:{port}", *flags, "--algorithm", "weighted-round-robin"):
            assert await names(port, 30) == Counter(a=10, b=20)


async def test_requests_are_written_to_a_log(tmp_path: Path) -> None:
    port, path = local.free_port(), tmp_path / "access.log"
    async with server("a") as first:
        flags = ("--listen", f"http://127.0.0.1:{port}", "--to", f"127.0.0.1:{first}", "--access-log", str(path))
        async with balancer(*flags, "--access-log-share", "0.5"):
            await names(port, 20)
            async with asyncio.timeout(20):
                while not path.exists() or not path.read_text().endswith("\n"):
                    await asyncio.sleep(0.02)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert 0 < len(lines) < 20
    assert {(line["path"], line["status"], line["endpoint"]) for line in lines} == {("/", 200, f"127.0.0.1:{first}")}


async def test_a_changed_file_is_applied_without_a_lost_request(tmp_path: Path) -> None:
    port, file = local.free_port(), tmp_path / "lb.yaml"
    text = "listeners: {web: {address: 'http://127.0.0.1:%d'}}\nbackends: {app: {endpoints: ['127.0.0.1:%d']}}\n"
    async with server("old") as old, server("new") as new:
        file.write_text(text % (port, old))
        async with balancer("-f", str(file)) as process, load.Load("127.0.0.1", port, rate=200) as running:
            await running.reaches(50)
            file.write_text(text % (port, new))
            await asyncio.wait_for(running.sees("new"), 10)
            file.write_text("listeners: [")
            assert process.stderr is not None
            lines = [await asyncio.wait_for(process.stderr.readline(), 10) for _ in range(2)]
            assert b"applied the changed file" in lines[0]
            assert b"not valid YAML" in lines[1]
            await running.reaches(50)
    assert running.outcome.all_ok(), running.outcome.failures[:5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say either -f FILE"),
        (("--listen", "http://:1"), "--listen and --to are both needed"),
        (("--listen", "http://127.0.0.1:x", "--to", "127.0.0.1:1"), "listeners.listener-0.address"),
        (("--listen", "http://127.0.0.1:18999", "--to", "nonsense"), "backends.servers.endpoints[0]"),
        (("-f", "/nonexistent.yaml"), "No such file"),
    ],
)
async def test_a_mistake_is_said_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.cli.main", "lb", *arguments, stderr=asyncio.subprocess.PIPE, env=os.environ
    )  # fmt: skip
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert message in said.decode()
    assert "Traceback" not in said.decode()


async def test_a_port_that_is_taken_names_its_holder() -> None:
    async with server("holder") as taken:
        arguments = ("--listen", f"http://127.0.0.1:{taken}", "--to", "127.0.0.1:1")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.cli.main", "lb", *arguments, stderr=asyncio.subprocess.PIPE, env=os.environ
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert f"pid {os.getpid()}" in said.decode(), said
