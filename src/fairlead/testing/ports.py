"""Ports for what is started a moment later and cannot be handed a socket.

They lie below the range from which the kernel gives ports by itself: between the look and the use nobody gets one by
chance, neither a server of a test's own nor a connection's own end.
"""

from __future__ import annotations

import contextlib
import random
import socket

_LOWEST, _HIGHEST = 10_000, 29_999  # node ports begin at 30,000, the kernel's own at 32,768
_RANDOM = random.Random()
_TRIES = 200


def free(address: str = "127.0.0.1") -> int:
    """One that is free for TCP and UDP at that address, and was not given lately. Raises OSError when none is found."""
    for _ in range(_TRIES):
        port = _RANDOM.randint(_LOWEST, _HIGHEST)
        with contextlib.suppress(OSError), socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((address, port))
            udp.bind((address, port))
            return port
    raise OSError(f"no free port at {address}")
