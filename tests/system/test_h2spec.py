"""h2spec, strict, against both doors of HTTP/2: prior knowledge in the clear, and TLS with ALPN.

One case may end in another way in the clear: what h2spec sends instead of the preface ends the connection, but by a
reset when bytes of it were not read yet, or with an answer of HTTP/1.1, which that door speaks as well.
"""

from __future__ import annotations

import asyncio
import datetime
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fairlead.base import x509
from fairlead.routing import table
from tests.system import http_servers, lone_engine

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(lone_engine.missing()), reason=lone_engine.missing()),
    pytest.mark.skipif(not shutil.which("h2spec"), reason="h2spec is not installed (scripts/h2spec)"),
]


ENDED = ("looked like an HTTP/1.1 header", "connection reset by peer")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as made:
        yield Path(made)


def listener(door: str, port: int) -> table.Listener:
    if door == "h2c":
        return table.Listener(
            id=door, protocol="http", sockets=(f"tcp:127.0.0.1:{port}",), http=table.HttpSettings(h2c=True)
        )
    return table.Listener(id=door, protocol="https", sockets=(f"tcp:127.0.0.1:{port}",), certificates=("own",))


async def failed(port: int, report: Path, *more: str) -> list[str]:
    """What h2spec finds wrong."""
    argv = ["h2spec", "--strict", "--port", str(port), "--timeout", "5", "--junit-report", str(report), *more]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    cases = ElementTree.parse(report).findall(".//testcase") if report.exists() else []
    assert len(cases) > 140, output.decode()
    wrong = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert bool(wrong) == (process.returncode != 0), output.decode()
    return [f"{case.get('package')} {case.get('classname')}: {' '.join(case.itertext())}" for case in wrong]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("door", ["h2c", "tls"])
async def test_http2_is_spoken_by_the_book(folder: Path, door: str) -> None:
    port = lone_engine.free_ports([door])[door]
    server = http_servers.start_h11(folder)
    try:
        structure, endpoints = lone_engine.one_to_one(listener(door, port), server.port)
        chain, key = x509.self_signed(["localhost"], now=datetime.datetime.now(datetime.UTC))
        if door == "tls":
            structure.certificates["own"] = table.Certificate(id="own", chain_pem=chain, key_pem=key)
        more = ["--tls", "--insecure"] if door == "tls" else []
        async with lone_engine.carrying(folder, [(structure, endpoints)]):
            wrong = await failed(port, folder / "report.xml", *more)
    finally:
        server.close()
    if door == "h2c":
        preface = "Sends invalid connection preface"
        wrong = [each for each in wrong if not (preface in each and any(end in each for end in ENDED))]
    assert not wrong, "\n".join(wrong)
