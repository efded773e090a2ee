"""Descriptors that come over a Unix socket, closed in every program that we start (`MSG_CMSG_CLOEXEC`).

`socket.recv_fds` takes flags and, in the Pythons that we support, forgets them: what it receives is inherited.
"""

from __future__ import annotations

import array
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
