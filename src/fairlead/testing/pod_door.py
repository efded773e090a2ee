"""A faithful PodDoor without a node agent: "containers" are commands on this machine, logs are lines that tests add."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fairlead.apiserver import pod_door

Object = dict[str, Any]


class FakePodDoor:
    """exec runs real processes here; `ports` maps a pod's port to a local one; `lines` is every container's log."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.ports: dict[int, int] = {}
        self.asked: list[pod_door.LogOptions] = []
        self._added = asyncio.Condition()

    async def add_line(self, line: bytes) -> None:
        """Appends to the log; followers see it."""
        async with self._added:
            self.lines.append(line + b"\n")
            self._added.notify_all()

    async def logs(self, pod: Object, options: pod_door.LogOptions) -> AsyncIterator[bytes]:
        self.asked.append(options)
        if options.previous:
            raise pod_door.DoorError(400, f'previous terminated container "{options.container}" not found')
        return self._logs(options)

    async def _logs(self, options: pod_door.LogOptions) -> AsyncIterator[bytes]:
        at = max(0, len(self.lines) - options.tail_lines) if options.tail_lines is not None else 0
        while True:
            while at < len(self.lines):
                yield self.lines[at]
                at += 1
            if not options.follow:
                return
            async with self._added:
                await self._added.wait_for(lambda seen=at: len(self.lines) > seen)  # type: ignore[misc]

    async def exec(self, pod: Object, options: pod_door.ExecOptions) -> pod_door.Session:
        if options.tty:
            raise pod_door.DoorError(501, "this fake has no terminals")
        try:
            return await _Process.start(options)
        except OSError as error:
            raise pod_door.DoorError(400, str(error)) from error

    async def attach(self, pod: Object, options: pod_door.ExecOptions) -> pod_door.Session:
        attached = pod_door.ExecOptions(options.container, ("cat",), stdin=options.stdin)
        return await _Process.start(attached)

    async def connect(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port not in self.ports:
            raise pod_door.DoorError(502, f"nothing listens on port {port} of the pod")
        return await asyncio.open_connection("127.0.0.1", self.ports[port])


class _Process:
    """A command's streams."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pieces: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(16)
        self._readers = [
            asyncio.ensure_future(self._copy(1, process.stdout)),
            asyncio.ensure_future(self._copy(2, process.stderr)),
        ]
        self._open = 2

    @classmethod
    async def start(cls, options: pod_door.ExecOptions) -> _Process:
        pipe = asyncio.subprocess.PIPE
        source = pipe if options.stdin else asyncio.subprocess.DEVNULL
        return cls(await asyncio.create_subprocess_exec(*options.command, stdin=source, stdout=pipe, stderr=pipe))

    async def _copy(self, channel: int, reader: asyncio.StreamReader | None) -> None:
        assert reader is not None
        while data := await reader.read(4096):
            await self._pieces.put((channel, data))
        await self._pieces.put(None)

    async def read(self) -> tuple[int, bytes] | None:
        while self._open:
            piece = await self._pieces.get()
            if piece is not None:
                return piece
            self._open -= 1
        return None

    async def write(self, data: bytes) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def end_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def resize(self, *, width: int, height: int) -> None:
        """There is no terminal."""

    async def wait(self) -> int:
        return await self._process.wait()

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process._transport.close()  # type: ignore[attr-defined]  # its pipes outlive a killed process otherwise
