"""Servers of a test's own behind the engine, which end when the test does: their connections are cut and done with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from fairlead.routing import table

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Backends:
    """Any number of servers; leaving the block ends them all."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Backends:
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)  # who is being accepted in this turn of the loop is among the talks in the next
        for writer in self._talks.values():
            writer.transport.abort()
        await asyncio.gather(*self._talks)

    async def serve(self, handler: Handler) -> table.Endpoint:
        """Starts one; the handler is called for each connection and may end by the connection's end."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._talks[task] = writer
            try:
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    await handler(reader, writer)
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            finally:
                del self._talks[task]

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self._servers.append(server)
        return table.Endpoint(address="127.0.0.1", port=server.sockets[0].getsockname()[1])
