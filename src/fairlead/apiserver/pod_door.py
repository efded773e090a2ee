"""What the API server needs of the node agent: a pod's logs, processes in it, connections to it. Wired by the
cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`v1.PodLogOptions`. Absent numbers are None; `since` is seconds since 1970."""

    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since: float | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """`v1.PodExecOptions` and `v1.PodAttachOptions` (then `command` is empty)."""

    container: str
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


class Session(Protocol):
    """A process in a pod, or a running container's own streams."""

    async def read(self) -> tuple[int, bytes] | None:
        """(1 or 2, bytes) of standard output or error; None when both have ended."""

    async def write(self, data: bytes) -> None:
        """To standard input."""

    async def end_input(self) -> None:
        """Closes standard input."""

    async def resize(self, *, width: int, height: int) -> None:
        """The terminal has another size."""

    async def wait(self) -> int:
        """The exit code (128 + signal for a killed process)."""

    async def close(self) -> None:
        """Ends the session; an exec'd process is killed."""


class DoorError(Exception):
    """It cannot be done: `code` is HTTP's (404 no such container, 400 not running, 501 not offered), the text says
    why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class PodDoor(Protocol):
    """All methods raise DoorError."""

    async def logs(self, pod: Object, options: LogOptions) -> AsyncIterator[bytes]:
        """The log in pieces; endless while it follows and the container runs."""

    async def exec(self, pod: Object, options: ExecOptions) -> Session:
        """Starts a command in a container."""

    async def attach(self, pod: Object, options: ExecOptions) -> Session:
        """Joins a running container's streams."""

    async def connect(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection to a port of the pod."""
