"""exec and attach over WebSocket: `v5.channel.k8s.io`, `v4.channel.k8s.io`, `channel.k8s.io` and their base64 forms.

Each message begins with its channel: 0 standard input, 1 output, 2 error, 3 the final Status, 4 the terminal's
size; in v5 channel 255 closes the one that its second byte names. Follows k8s.io/apimachinery
`pkg/util/remotecommand`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import Any

from aiohttp import WSMsgType, web

from fairlead.apiserver import pod_door

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
PIECE_BYTES = 32 << 10


class RemoteCommand:
    """One session on one open WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, session: pod_door.Session, options: pod_door.ExecOptions) -> None:
        self._socket = socket
        self._session = session
        self._options = options
        protocol = socket.ws_protocol or ""
        self._base64 = "base64" in protocol
        self._status = protocol.startswith(("v4", "v5"))

    async def run(self) -> None:
        """Carries both directions until the process ends or the caller goes."""
        await self._send(STDOUT if self._options.stdout else STDERR if self._options.stderr else ERROR, b"")
        inward = asyncio.ensure_future(self._inward())
        outward = asyncio.ensure_future(self._outward())
        try:
            done, _ = await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
            if outward in done:
                await self._end(outward)
        finally:
            for task in (inward, outward):
                task.cancel()
            await asyncio.gather(inward, outward, return_exceptions=True)
            await self._session.close()
            if not self._socket.closed:
                await self._socket.close()

    async def _outward(self) -> int:
        while (piece := await self._session.read()) is not None:
            channel, data = piece
            if (channel == STDOUT and not self._options.stdout) or (channel == STDERR and not self._options.stderr):
                continue
            for start in range(0, len(data), PIECE_BYTES):
                await self._send(channel, data[start : start + PIECE_BYTES])
        return await self._session.wait()

    async def _end(self, outward: asyncio.Future[int]) -> None:
        error = outward.exception()
        if isinstance(error, (ConnectionError, pod_door.DoorError)):
            await self._send(ERROR, _failure(str(error), "InternalError", ""))
        elif error is not None:
            raise error
        elif self._status:
            await self._send(ERROR, status_of(outward.result()))
        elif code := outward.result():
            await self._send(ERROR, f"command terminated with non-zero exit code: exit status {code}".encode())

    async def _send(self, channel: int, data: bytes) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the caller has gone")
        if self._base64:
            await self._socket.send_str(str(channel) + base64.b64encode(data).decode())
        else:
            await self._socket.send_bytes(bytes((channel,)) + data)

    async def _inward(self) -> None:
        async for message in self._socket:
            if message.type == WSMsgType.BINARY and message.data:
                await self._take(message.data[0], message.data[1:])
            elif message.type == WSMsgType.TEXT and message.data:
                await self._take_text(message.data)

    async def _take_text(self, text: str) -> None:
        if not self._base64:  # the official Python client sends text frames
            data = text.encode()
            await self._take(data[0], data[1:])
            return
        try:
            await self._take(int(text[0]), base64.b64decode(text[1:]))
        except (ValueError, binascii.Error):
            return  # not a message of this protocol

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == STDIN and self._options.stdin:
            if data:
                await self._session.write(data)
        elif channel == RESIZE:
            size = _size(data)
            if size is not None:
                await self._session.resize(width=size[0], height=size[1])
        elif channel == CLOSE and data[:1] == bytes((STDIN,)) and self._options.stdin:
            await self._session.end_input()


async def refuse(socket: web.WebSocketResponse, message: str) -> None:
    """Says why there is no session, and ends."""
    data = _failure(message, "BadRequest", "")
    if "base64" in (socket.ws_protocol or ""):
        await socket.send_str(str(ERROR) + base64.b64encode(data).decode())
    else:
        await socket.send_bytes(bytes((ERROR,)) + data)
    await socket.close()


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        found = json.loads(data)
        return int(found["Width"]), int(found["Height"])
    except (ValueError, KeyError, TypeError):
        return None


def status_of(code: int) -> bytes:
    """The final Status of a process that ended with a code."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    return _failure(f"command terminated with non-zero exit code: exit status {code}", "NonZeroExitCode", str(code))


def _failure(message: str, reason: str, code: str) -> bytes:
    status: dict[str, Any] = {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
    if code:
        status["details"] = {"causes": [{"reason": "ExitCode", "message": code}]}
    return json.dumps(status).encode()
