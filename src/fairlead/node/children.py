"""Processes that outlive us, started without a thread each: posix_spawn, and a pidfd that the loop watches.

A child is reaped when it ends while we live; when we end first, it is nobody's business but init's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence

from fairlead.base import descriptors


class Child:
    """One started process. `ended` is set with `status` (an exit code, negative for a signal) once it is reaped."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.pidfd_open(pid)
        self._loop.add_reader(self._descriptor, self._reap)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status)
        self.forget()
        self.ended.set()

    def forget(self) -> None:
        """Stops watching it."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def spawn(argv: Sequence[str], *, env: Mapping[str, str], stdin: socket.socket) -> Child:
    """Starts it in a session of its own, with our errors and no output. Raises OSError when it cannot be executed."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = os.posix_spawnp(
            argv[0],
            list(argv),
            dict(env),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, nothing, 1),
                *((os.POSIX_SPAWN_CLOSE, number) for number in descriptors.inheritable()),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores them, its children should not
        )
    finally:
        os.close(nothing)
    return Child(pid)
