"""An open-loop generator for proofs: every request is due at its time, none is retried, every answer is counted."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

from fairlead.node.network import netlink


@dataclass
class Outcome:
    """What became of the requests that were due. `failures` holds (seconds since start, what happened)."""

    due: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    last_taken: float = 0.0
    """When the last request was sent that was answered over a connection of its own."""
    again: int = 0

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def all_ok(self) -> bool:
        """Every request that was due was answered by 200."""
        return self.due > 0 and self.statuses == Counter({200: self.due}) and not self.failures


class Connection:
    """One HTTP/1.1 connection; `get` raises OSError or EOFError when the answer does not come whole."""

    def __init__(self, host: str, port: int, *, network: str = "") -> None:
        self._host, self._port, self._network = host, port, network
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, *, host: str = "", method: str = "GET") -> tuple[int, str]:
        """Sends one request on this connection (opened when needed). Returns status and body."""
        if self._streams is None:
            made = socket_in(self._network, self._host)
            try:
                await asyncio.get_running_loop().sock_connect(made, (self._host, self._port))
                self._streams = await asyncio.open_connection(sock=made)
            except BaseException:
                made.close()
                raise
        reader, writer = self._streams
        try:
            own = f"[{self._host}]" if ":" in self._host else self._host
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host or own}\r\n\r\n".encode())
            status, headers = await _head(reader)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            self.close()
            raise
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, body.decode()

    @property
    def ended(self) -> bool:
        """Whether the other end has closed it, as servers do with connections that nobody uses."""
        return self._streams is not None and self._streams[0].at_eof()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return int(first.split(" ")[1]), headers


def socket_in(network: str, host: str = "") -> socket.socket:
    """A TCP socket for that host in that network namespace (a path), or in ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not network:
        made = socket.socket(family)
    else:
        with netlink.visiting(network):
            made = socket.socket(family)
    made.setblocking(False)
    return made


class Load:
    """`async with Load(...) as load:` sends `rate` requests a second until the block ends.

    Half of the requests go over keep-alive connections from a pool, half over a connection of their own. With
    `until_refused`, connections that are refused are no failures but counted as such, and a kept connection that was
    closed before any of an answer came is replaced by a new one, as clients of HTTP do (`again` counts them).
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        rate: int,
        path: str = "/",
        header: str = "",
        fresh_share: float = 0.5,
        network: str = "",
        until_refused: bool = False,
    ) -> None:
        self._network, self._until_refused = network, until_refused
        self._host, self._port, self._rate, self._path, self._header = host, port, rate, path, header
        self._fresh_every = round(1 / fresh_share) if fresh_share else 0
        self._idle: list[Connection] = []
        self._running: set[asyncio.Task[None]] = set()
        self.outcome = Outcome()

    async def __aenter__(self) -> Load:
        self._start = time.monotonic()
        self._driver = asyncio.create_task(self._drive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._driver.cancel()
        await asyncio.gather(self._driver, return_exceptions=True)
        await asyncio.wait_for(asyncio.gather(*self._running), 60)
        for connection in self._idle:
            connection.close()

    async def reaches(self, count: int) -> None:
        """Returns when so many more requests have been due."""
        target = self.outcome.due + count
        while self.outcome.due < target:
            await asyncio.sleep(1 / self._rate)

    async def sees(self, body: str) -> None:
        """Returns when an answer with that body has come."""
        while not self.outcome.bodies[body]:
            await asyncio.sleep(1 / self._rate)

    async def _drive(self) -> None:
        while True:
            due = self._start + self.outcome.due / self._rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self.outcome.due += 1
            task = asyncio.create_task(self._one(self.outcome.due))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _get(self, connection: Connection) -> tuple[int, str]:
        return await asyncio.wait_for(connection.get(self._path, host=self._header), 30)

    async def refuses(self, count: int) -> None:
        """Returns when so many requests have been refused."""
        while len(self.outcome.refused) < count:
            await asyncio.sleep(1 / self._rate)

    def _kept(self) -> Connection | None:
        while self._idle:
            if not (found := self._idle.pop()).ended:
                return found
            found.close()
        return None

    async def _one(self, number: int) -> None:
        fresh = bool(self._fresh_every) and number % self._fresh_every == 0
        kept = None if fresh else self._kept()
        connection = kept or Connection(self._host, self._port, network=self._network)
        begun = time.monotonic()
        try:
            try:
                status, body = await self._get(connection)
            except asyncio.IncompleteReadError as error:
                if error.partial or not kept or not self._until_refused:
                    raise
                self.outcome.again += 1
                connection = Connection(self._host, self._port, network=self._network)
                status, body = await self._get(connection)
        except (OSError, EOFError, TimeoutError) as error:
            connection.close()
            if self._until_refused and isinstance(error, ConnectionRefusedError):
                self.outcome.refused.append(begun - self._start)
                return
            self.outcome.failures.append((begun - self._start, f"{type(error).__name__}: {error}"))
            return
        if kept is None:
            self.outcome.last_taken = max(self.outcome.last_taken, begun - self._start)
        self.outcome.latencies.append(time.monotonic() - begun)
        self.outcome.statuses[status] += 1
        self.outcome.bodies[body.strip()] += 1
        if status != 200:
            self.outcome.failures.append((begun - self._start, f"{status} {body.strip()}"))
        if fresh:
            connection.close()
        else:
            self._idle.append(connection)
