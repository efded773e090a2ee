"""What is received is not inherited."""

from __future__ import annotations

import os
import socket

from fairlead.base import descriptors


def test_received_descriptors_are_closed_in_programs_that_are_started() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as door:
        socket.send_fds(theirs, [b"x"], [door.fileno(), door.fileno()])
        message, found = descriptors.receive(ours, 10, most=2)
        assert (message, len(found)) == (b"x", 2)
        assert not any(map(os.get_inheritable, found))
        for one in found:
            os.close(one)
        theirs.send(b"y")
        assert descriptors.receive(ours, 10, most=1) == (b"y", [])
