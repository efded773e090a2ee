"""Notices an engine that hangs instead of dying (a deadlock, SIGSTOP), and ends it so that it is replaced.

Promises: the engine is asked once a second, and only one question waits at a time; a process is ended when it has been
silent for PATIENCE questions' time, and for CERTAINTY more in a new conversation: the worker when the master still
welcomes us, else the master (whose worker carries on meanwhile). After each end the patience is twice as long, so that
an engine that is only slow (a huge table, a machine without a free core) is not ended again and again. Time in which
we ourselves did not run counts as one second. What is ended was looked at first: it is an engine's process.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
from collections.abc import Callable

from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.dataplane import link, wire

log = logs.get(__name__)
PERIOD_SECONDS = 1.0
PATIENCE = 6
CERTAINTY = 4
MOST_PATIENCE = 300
FORGIVEN_SECONDS = 600.0


class Watchdog:
    """One engine's. `watch` a conversation; `heard` says that the engine answered."""

    def __init__(self, clock: clocks.Clock, *, end: Callable[[int, str], bool] | None = None) -> None:
        """`end(pid, role)` ends a process; False: it is none of the engine's."""
        self._clock = clock
        self._end = end or end_process
        self._patience = PATIENCE
        self._ended_at = float("-inf")
        self._suspected = False
        self._waiting = False
        self._welcomed = False

    def heard(self, *, welcome: bool = False) -> None:
        """The answer to the last question, or the welcome, has come."""
        if welcome:
            self._welcomed = True
        else:
            self._waiting = self._suspected = False

    def begin(self) -> None:
        """A conversation is about to begin: nothing has been answered in it."""
        self._waiting = self._welcomed = False

    async def watch(self, conversation: link.Link, pids: Callable[[], tuple[int, int]]) -> None:
        """Asks until it is cancelled. When the engine is silent for too long, the conversation ends, so that another
        begins, and with it the process that hangs (of `pids`: master, worker) where it is known."""
        missed = 0
        while True:
            await self._clock.sleep(PERIOD_SECONDS)
            if not self._welcomed or self._waiting:
                missed += 1
            else:
                missed, self._waiting = 0, True
                conversation.send(wire.Ping(id=0))
            if missed >= (CERTAINTY if self._suspected and self._welcomed else self._patience):
                self._act(pids())
                conversation.lose("it does not answer")
                return

    def _act(self, pids: tuple[int, int]) -> None:
        if self._welcomed and not self._suspected:
            self._suspected = True
            log.warning("the engine does not answer; asking it in a new conversation")
        elif self._welcomed:
            self._replace("worker", pids[1])
        else:
            self._replace("master", pids[0])

    def _replace(self, role: str, pid: int) -> None:
        now = self._clock.monotonic()
        if now - self._ended_at > FORGIVEN_SECONDS:
            self._patience = PATIENCE
        self._patience, self._ended_at = min(self._patience * 2, MOST_PATIENCE), now
        self._suspected = False
        if self._end(pid, role):
            log.error("the engine hangs; its process is ended and replaced", process=role, pid=pid)
        else:
            log.error("the engine hangs, and the process that does is not to be found", process=role, pid=pid)


def end_process(pid: int, role: str) -> bool:
    """SIGKILL, as a process that is stopped takes no other signal; False when that pid is no engine's of that role."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    with contextlib.closing(os.fdopen(descriptor)):
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[1:2] != [role.encode()]:
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError:
            return False
    return True
