"""Network namespaces told apart: by the number that the kernel gives each of them once and never again."""

from __future__ import annotations

import socket
import sys

_SO_NETNS_COOKIE = 71  # Linux 5.14


def cookie(of: socket.socket) -> int:
    """The number of the network namespace in which the socket was made. Raises OSError where the kernel has none."""
    return int.from_bytes(of.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)


def cookie_here() -> int:
    """The number of the calling thread's network namespace. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as one:
        return cookie(one)
