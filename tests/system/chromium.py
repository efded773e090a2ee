"""A real browser for proofs: Debian's chromium, headless, spoken to in its own DevTools protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
PATIENCE_SECONDS = 60.0


class Page:
    """One tab. Script that fails raises AssertionError with the browser's words."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def say(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result; events that come meanwhile are not looked at."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), PATIENCE_SECONDS)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                found: dict[str, Any] = message["result"]
                return found

    async def open(self, url: str) -> None:
        """Goes there as a person would who types it, and waits until the page is there."""
        gone = await self.say("Page.navigate", url=url)
        assert not gone.get("errorText"), gone["errorText"]
        while await self.run("document.readyState") != "complete":
            await asyncio.sleep(0.01)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        answer = await self.say("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def cookies(self) -> dict[str, dict[str, Any]]:
        """The browser's cookies by name, those that scripts may not see included."""
        found = await self.say("Storage.getCookies")
        return {one["name"]: one for one in found["cookies"]}


@contextlib.asynccontextmanager
async def page(*, arguments: tuple[str, ...] = ()) -> AsyncIterator[Page]:
    """A browser with a profile of its own, gone afterwards."""
    profile = Path(tempfile.mkdtemp(prefix="fl-chromium-"))
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    words += ["--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    process = await asyncio.create_subprocess_exec(
        BINARY, *words, *arguments, "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile), "TMPDIR": str(profile)}, start_new_session=True,
    )  # fmt: skip
    try:
        port = await asyncio.wait_for(_port(profile), PATIENCE_SECONDS)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                [tab] = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _port(profile: Path) -> int:
    """Where the browser listens: it writes that into its profile."""
    file = profile / "DevToolsActivePort"
    while not file.exists() or not file.read_text().strip():
        await asyncio.sleep(0.02)
    return int(file.read_text().split()[0])
