"""Descriptors that come over a Unix socket are closed in every program that we start (`MSG_CMSG_CLOEXEC`), and in those
that outlive us so are all that somebody has forgotten to mark.

`socket.recv_fds` takes flags and, in the Pythons that we support, forgets them: what it receives is inherited.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket


def receive(connection: socket.socket, most_bytes: int, *, most: int) -> tuple[bytes, list[int]]:
    """A message and the descriptors with it, at most so many. Raises OSError."""
    room = socket.CMSG_LEN(most * array.array("i").itemsize)
    message, extra, _, _ = connection.recvmsg(most_bytes, room, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return message, list(found)


def inheritable() -> list[int]:
    """Those beside the standard three that a program would keep which is started now without care (posix_spawn)."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  (half the time)
        number = int(name)
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if number > 2 and os.get_inheritable(number):
                found.append(number)
    return found
