"""A real browser opens its WebSocket on the HTTP/2 connection that its page came by (RFC 8441)."""

from __future__ import annotations

import asyncio
import datetime
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fairlead.base import clock, x509
from fairlead.dataplane import access_log
from fairlead.routing import table
from tests.system import chromium, lone_engine

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(lone_engine.missing()), reason=lone_engine.missing()),
    pytest.mark.skipif(not chromium.BINARY, reason="no chromium here; scripts/system-packages test installs it"),
]

ECHOES = """new Promise((done, failed) => {
    const heard = [];
    const noise = Array.from({length: 300000}, () => String.fromCharCode(33 + 90 * Math.random())).join('');
    const socket = new WebSocket(`wss://${location.host}/ws`);
    socket.onopen = () => { socket.send('hello'); socket.send(noise); };
    socket.onmessage = message => { if (heard.push(message.data.length) == 2) socket.close(1000, 'done'); };
    socket.onclose = event => event.wasClean ? done(heard) : failed(new Error(`closed with ${event.code}`));
})"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as made:
        yield Path(made)


async def page(request: web.Request) -> web.Response:
    return web.Response(text="<p>here", content_type="text/html")


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


@pytest.fixture
async def server() -> AsyncIterator[int]:
    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/ws", echo)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_a_browsers_websocket_comes_over_http_2(folder: Path, server: int) -> None:
    port = lone_engine.free_ports(["edge"])["edge"]
    chain, key = x509.self_signed(["localhost"], now=datetime.datetime.now(datetime.UTC))
    listener = table.Listener(
        id="edge", protocol="https", sockets=(f"tcp:127.0.0.1:{port}",), certificates=("own",),
        http=table.HttpSettings(access_log=table.AccessLog()),
    )  # fmt: skip
    structure, endpoints = lone_engine.one_to_one(listener, server)
    structure.certificates["own"] = table.Certificate(id="own", chain_pem=chain, key_pem=key)
    async with lone_engine.carrying(folder, [(structure, endpoints)]):
        log = folder / "log"
        reading = asyncio.create_task(
            access_log.follow(str(folder / "stats.sock"), access_log.Destination(str(log)), clock=clock.SystemClock())
        )
        async with chromium.page(arguments=("--ignore-certificate-errors",)) as browser:
            await browser.open(f"https://localhost:{port}/")
            assert await browser.run(ECHOES) == [5, 300_000]
        line = await written(log)
        reading.cancel()
    assert (line["version"], line["status"], line["endpoint"]) == ("HTTP/2", 101, f"127.0.0.1:{server}")
    assert line["bytes"] > 200_000  # it compresses


async def written(log: Path) -> dict[str, Any]:
    """The WebSocket's line, once it has ended."""
    async with asyncio.timeout(20):
        while True:
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            for line in lines:
                if line.get("path") == "/ws":
                    return dict(line)
            await asyncio.sleep(0.02)
