"""`healthCheckNodePort` as a plane of its own: tells outer load balancers whether this node has endpoints of a Service.

Answers every HTTP request at such a port as kube-proxy does: 200 with the number of the node's ready endpoints, 503
when there are none. It carries no user's traffic. A socket that is taken is a Nack and is tried again every second; the
Listener's others answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Sequence

from fairlead.dataplane import doors, sockets
from fairlead.dataplane.plane import Ack, Nack
from fairlead.routing import table

_MAX_HEAD_BYTES = 8192
_PATIENCE_SECONDS = 5.0
RETRY_SECONDS = 1.0


class HealthPorts:
    """Serves the Listeners whose protocol is `health`."""

    name = "health"

    def __init__(
        self, opener: doors.Opener = sockets.open_socket, *, on_nacks: Callable[[], None] = lambda: None
    ) -> None:
        """`on_nacks` is called when a socket that was taken could be opened later."""
        self._opener = opener
        self._sequence = 0
        self._listeners: dict[str, table.Listener] = {}
        self._servers: dict[str, dict[str, asyncio.Server]] = {}  # by Listener and socket
        self._ready: dict[str, int] = {}
        self._nacks: dict[str, list[Nack]] = {}
        self._on_nacks = on_nacks
        self._retry: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # a socket is opened by one at a time

    async def apply(self, structure: table.Structure) -> int:
        wanted = {name: one for name, one in structure.listeners.items() if one.protocol == "health"}
        async with self._turn:
            for name in [name for name, one in self._listeners.items() if wanted.get(name) != one]:
                await self._close(name)
            for name, listener in wanted.items():
                self._listeners[name] = listener
                await self._open(name, listener)
        if any(self._nacks.values()) and (self._retry is None or self._retry.done()):
            self._retry = asyncio.create_task(self._try_again())
        return self._advance()

    async def _try_again(self) -> None:
        while any(self._nacks.values()):
            await asyncio.sleep(RETRY_SECONDS)
            async with self._turn:
                before = self._nacks.copy()
                for name in [name for name, nacks in before.items() if nacks]:
                    await self._open(name, self._listeners[name])
            if self._nacks != before:
                self._on_nacks()

    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> int:
        for one in delta:
            self._ready[one.backend] = len({e.address for e in one.endpoints if e.state == "ready"})
        return self._advance()

    async def acked(self, sequence: int) -> Ack:
        return Ack(self._sequence, tuple(itertools.chain(*self._nacks.values())))

    async def drained(self, address: str) -> int:
        return 0

    async def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.gather(self._retry, return_exceptions=True)
        for name in list(self._listeners):
            await self._close(name)

    def _advance(self) -> int:
        self._sequence += 1
        return self._sequence

    async def _open(self, name: str, listener: table.Listener) -> None:
        servers, self._nacks[name] = self._servers.setdefault(name, {}), []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._answer(listener, reader, writer)

        for index, wanted in enumerate(listener.sockets):
            if wanted in servers:
                continue
            try:
                opened = self._opener(wanted)
            except sockets.SocketRefused as error:
                self._nacks[name].append(Nack(f"listener/{name}", f"sockets[{index}]", str(error)))
                continue
            servers[wanted] = await asyncio.start_server(answer, sock=opened, limit=_MAX_HEAD_BYTES)

    async def _close(self, name: str) -> None:
        self._listeners.pop(name, None)
        self._nacks.pop(name, None)
        for server in self._servers.pop(name, {}).values():
            server.close()

    async def _answer(
        self, listener: table.Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self.response(listener))
                await writer.drain()
        writer.close()

    def response(self, listener: table.Listener) -> bytes:
        """The whole answer."""
        count = self._ready.get(listener.backend, 0)
        namespace, name = listener.id.split("/")[1:3]
        told = {"service": {"namespace": namespace, "name": name}, "localEndpoints": count, "serviceProxyHealthy": True}
        body = json.dumps(told).encode()
        head = [
            f"HTTP/1.1 {'200 OK' if count else '503 Service Unavailable'}",
            "Content-Type: application/json",
            f"X-Load-Balancing-Endpoint-Weight: {count}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        return "\r\n".join([*head, "", ""]).encode() + body

    def __repr__(self) -> str:
        nacks = sum(map(len, self._nacks.values()))
        return f"<HealthPorts {len(self._servers)} ports, {nacks} nacks>"
