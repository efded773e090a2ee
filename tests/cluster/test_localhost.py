"""The loopback addresses of the machine decide where doors are opened: what is not there is not asked for."""

from __future__ import annotations

import socket

from fairlead.cluster import config, ranges
from fairlead.dataplane import sockets


def without_ipv6(socket_id: str) -> socket.socket:
    if "[" in socket_id:
        raise sockets.SocketRefused(f"{socket_id}: this machine has no address ::1")
    return sockets.open_socket(socket_id)


def test_a_machine_without_ipv6_has_one_loopback_address_and_the_edge_is_there() -> None:
    here = ranges.localhost(without_ipv6)
    assert here == ("127.0.0.1",)
    assert ranges.reachable(config.EDGE_HTTP, here) == ("127.0.0.1:8080",)
    assert ranges.reachable(config.door(":80"), here) == ("0.0.0.0:80",)


def test_a_door_that_was_asked_for_by_ipv6_alone_is_not_forgotten() -> None:
    assert ranges.reachable(("[::1]:8080",), ("127.0.0.1",)) == ("[::1]:8080",)


def test_with_ipv6_every_door_stays() -> None:
    assert ranges.reachable(config.EDGE_HTTPS, ("127.0.0.1", "::1")) == config.EDGE_HTTPS
