"""port-forward: SPDY/3.1 inside a WebSocket (current kubectl), or one port per channel pair (`v4.channel.k8s.io`).

Each forwarded connection is a pair of streams, `error` and `data`, with the same request id; what cannot be
connected says so on the error stream. Follows KEP-4006 and k8s.io/kubelet `pkg/cri/streaming/portforward`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from fairlead.apiserver import pod_door
from fairlead.apiserver.streams import spdy

Object = dict[str, Any]
TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
PIECE_BYTES = 32 << 10
MAX_STREAMS = 512


@dataclass(slots=True)
class _Stream:
    """One stream of the peer's."""

    port: int
    request: str
    kind: str
    inward: asyncio.Queue[bytes | None]


class Tunnel:
    """SPDY over one open WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, door: pod_door.PodDoor, pod: Object) -> None:
        self._socket = socket
        self._door = door
        self._pod = pod
        self._codec = spdy.Codec()
        self._streams: dict[int, _Stream] = {}
        self._errors: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Carries connections until the caller goes."""
        try:
            async for message in self._socket:
                if message.type != WSMsgType.BINARY:
                    continue
                for frame in self._codec.feed(message.data):
                    await self._take(frame)
        except spdy.SpdyError:
            pass  # the peer broke the protocol: the connection ends
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if not self._socket.closed:
                await self._socket.close()

    async def _take(self, frame: spdy.Frame) -> None:
        if frame.kind == spdy.SYN_STREAM:
            await self._open(frame)
        elif frame.kind == spdy.PING:
            await self._socket.send_bytes(spdy.ping(frame.number))
        elif frame.kind == 0 and frame.stream in self._streams:
            stream = self._streams[frame.stream]
            if frame.data:
                await stream.inward.put(frame.data)
            if frame.fin:
                await stream.inward.put(None)
        elif frame.kind == spdy.RST_STREAM and frame.stream in self._streams:
            await self._streams[frame.stream].inward.put(None)

    async def _open(self, frame: spdy.Frame) -> None:
        port, kind, request = frame.header("port"), frame.header("streamtype"), frame.header("requestid")
        good = port.isdecimal() and 0 < int(port) < 65536 and kind in ("data", "error")
        if not good or len(self._streams) >= MAX_STREAMS:
            await self._socket.send_bytes(spdy.reset(frame.stream, 3))
            return
        self._streams[frame.stream] = _Stream(int(port), request, kind, asyncio.Queue(64))
        await self._socket.send_bytes(self._codec.reply(frame.stream))
        if kind == "error":
            self._errors[request] = frame.stream
            return
        task = asyncio.ensure_future(self._carry(frame.stream, self._streams[frame.stream]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, number: int, stream: _Stream) -> None:
        error = self._errors.pop(stream.request, 0)
        try:
            reader, writer = await self._door.connect(self._pod, stream.port)
        except pod_door.DoorError as refusal:
            if error:
                await self._socket.send_bytes(spdy.data(error, str(refusal).encode(), fin=True))
            await self._socket.send_bytes(spdy.data(number, b"", fin=True))
        else:
            await self._pump(number, stream, reader, writer)
            if error:
                await self._socket.send_bytes(spdy.data(error, b"", fin=True))
        finally:
            self._streams.pop(number, None)
            self._streams.pop(error, None)

    async def _pump(
        self, number: int, stream: _Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def inward() -> None:
            while (data := await stream.inward.get()) is not None:
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        async def outward() -> None:
            while data := await reader.read(PIECE_BYTES):
                await self._socket.send_bytes(spdy.data(number, data))
            await self._socket.send_bytes(spdy.data(number, b"", fin=True))

        sending = asyncio.ensure_future(inward())
        try:
            with contextlib.suppress(ConnectionError):
                await outward()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()


async def run_channels(socket: web.WebSocketResponse, door: pod_door.PodDoor, pod: Object, ports: list[int]) -> None:
    """The older WebSocket form: channel 2n is data of port n, 2n + 1 its errors; each begins with the port's number."""
    connections = []
    tasks: list[asyncio.Task[None]] = []
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await socket.send_bytes(bytes((channel,)) + port.to_bytes(2, "little"))
        try:
            connections.append(await door.connect(pod, port))
        except pod_door.DoorError as refusal:
            await socket.send_bytes(bytes((2 * index + 1,)) + str(refusal).encode())
            await socket.close()
            return
        tasks.append(asyncio.ensure_future(_channel_out(socket, 2 * index, connections[-1][0])))
    try:
        async for message in socket:
            if message.type == WSMsgType.BINARY and message.data and message.data[0] % 2 == 0:
                index = message.data[0] // 2
                if index < len(connections):
                    connections[index][1].write(message.data[1:])
                    await connections[index][1].drain()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, writer in connections:
            writer.close()


async def _channel_out(socket: web.WebSocketResponse, channel: int, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(PIECE_BYTES):
        await socket.send_bytes(bytes((channel,)) + data)
    await socket.close()
