"""`fairlead lb`: any servers, balanced, from flags or a file that may change under load."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.base import x509
from fairlead.cli import lb, lbfolder
from fairlead.testing import ports as free_ports
from tests.system import load

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
    port = free_ports.free()
    async with server("a") as first, server("b") as second:
        flags = ("--to", f"127.0.0.1:{first}", "--to", f"127.0.0.1:{second},weight=2")
        async with balancer("--listen", f"http://127.0.0.1:{port}", *flags, "--algorithm", "weighted-round-robin"):
            assert await names(port, 30) == Counter(a=10, b=20)


async def test_requests_are_written_to_a_log(tmp_path: Path) -> None:
    port, path = free_ports.free(), tmp_path / "access.log"
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
    port, file = free_ports.free(), tmp_path / "lb.yaml"
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
        (("--listen", ":80", "--to", "127.0.0.1:1"), "--listen :80: a scheme is needed, such as http://:80"),
        (("--listen", "http://:18999", "--to", "http://127.0.0.1:1"), "no scheme stands before it"),
        (
            ("--listen", "http://:18999", "--to", "127.0.0.1:1", "--cert", "x"),
            "--cert FILE and --key FILE belong together",
        ),
        (
            ("--listen", "http://:18999", "--to", "127.0.0.1:1", "--cert", "x", "--key", "y"),
            "--cert: there is no --listen https",
        ),
        (("--listen", "http://:18999", "--to", "127.0.0.1:1", "--check", "ping"), "known are grpc, http, tcp"),
        (
            ("--listen", "http://:18999", "--to", "127.0.0.1:1", "--check", "http:x"),
            "http:/PATH, tcp or grpc[:SERVICE]",
        ),
        (("--listen", "http://:18999", "--to", "127.0.0.1:1", "--algorithm", "best"), "there are round-robin, "),
        (("--listen", "http://:18999", "--to", "127.0.0.1:1", "--access-log", "/no/such"), "--access-log /no/such: "),
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


@pytest.mark.parametrize("place", ["nonsense", "TAKEN"])
async def test_metrics_that_cannot_be_served_end_it_in_one_line(place: str) -> None:
    async with server("holder") as taken:
        where = place.replace("TAKEN", f"127.0.0.1:{taken}")
        words = ("--listen", f"http://127.0.0.1:{free_ports.free()}", "--to", "127.0.0.1:1", "--metrics", where)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.cli.main", "lb", *words, stderr=asyncio.subprocess.PIPE, env=os.environ
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert said.decode().startswith(f"error: --metrics {where}: "), said
    assert said.count(b"\n") == 1


async def test_a_killed_one_leaves_its_traffic_running_and_the_next_adopts_it(tmp_path: Path) -> None:
    port, file = free_ports.free(), tmp_path / "lb.yaml"
    text = "listeners: {web: {address: 'http://127.0.0.1:%d'}}\nbackends: {app: {endpoints: ['127.0.0.1:%d']}}\n"
    async with server("old") as old, server("new") as new:
        file.write_text(text % (port, old))
        first = await asyncio.create_subprocess_exec(
            sys.executable, "-u", "-m", "fairlead.cli.main", "lb", "-f", str(file),
            stdout=asyncio.subprocess.PIPE, env=os.environ,
        )  # fmt: skip
        assert first.stdout is not None
        assert (await asyncio.wait_for(first.stdout.readline(), 30)).startswith(b"listening")
        async with load.Load("127.0.0.1", port, rate=200) as running:
            await running.reaches(20)
            first.kill()
            await first.wait()
            file.write_text(text % (port, new))
            async with balancer("-f", str(file)) as second:
                assert second.stderr is not None
                assert b"adopting the engine" in await asyncio.wait_for(second.stderr.readline(), 10)
                await asyncio.wait_for(running.sees("new"), 10)
                assert (set(running.outcome.statuses), running.outcome.failures) == ({200}, [])
    assert not lbfolder.place(str(file)).exists()


async def test_a_renewed_certificate_is_shown_without_a_word(tmp_path: Path) -> None:
    port = free_ports.free()
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"

    def renew(name: str) -> None:
        chain, secret = x509.self_signed((name,), now=datetime.datetime.now(datetime.UTC), days=2)
        key.write_text(secret)
        certificate.write_text(chain)

    async def shown() -> str:
        context = ssl._create_unverified_context()
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return "new.test" if b"new.test" in found else "old.test"

    renew("old.test")
    async with server("a") as one:
        flags = ("--listen", f"https://127.0.0.1:{port}", "--to", f"127.0.0.1:{one}")
        async with balancer(*flags, "--cert", str(certificate), "--key", str(key)):
            assert await shown() == "old.test"
            renew("new.test")
            async with asyncio.timeout(10):
                while await shown() != "new.test":
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("ends_here", [True, False])
async def test_tls_from_flags_goes_on_as_tcp_or_is_passed_through(ends_here: bool, tmp_path: Path) -> None:
    port, files = free_ports.free(), (str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    pair = x509.self_signed(("a.test",), now=datetime.datetime.now(datetime.UTC), days=2)
    for name, text in zip(files, pair, strict=True):
        Path(name).write_text(text)
    behind = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    behind.load_cert_chain(*files)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.readline())
        writer.close()

    serving = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=None if ends_here else behind)
    flags = ("--listen", f"tls://127.0.0.1:{port}", "--to", f"127.0.0.1:{serving.sockets[0].getsockname()[1]}")
    async with balancer(*flags, *(("--cert", files[0], "--key", files[1]) if ends_here else ())):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ssl._create_unverified_context())
        writer.write(b"you\n")
        assert await asyncio.wait_for(reader.readline(), 10) == b"hello you\n"
        writer.close()
    serving.close()


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
async def test_a_port_that_is_taken_names_its_holder(address: str) -> None:
    async with server("holder") as taken:
        arguments = ("--listen", f"http://{address}:{taken}", "--to", "127.0.0.1:1")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.cli.main", "lb", *arguments, stderr=asyncio.subprocess.PIPE, env=os.environ
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert f"pid {os.getpid()}" in said.decode(), said
    assert not lbfolder.place(arguments[1]).exists()


def test_a_port_that_an_engine_of_ours_has_says_how_that_is_adopted_or_ended() -> None:
    refused = ["listener/web: sockets[0]: tcp:0.0.0.0:80 is taken by fairlead-master (pid 77)"]
    (said,) = lb.hint(refused)
    assert "adopts" in said and said.endswith("kill 77")
    assert lb.hint(["listener/web: sockets[0]: tcp:0.0.0.0:80 is taken by nginx (pid 77)"]) == []
