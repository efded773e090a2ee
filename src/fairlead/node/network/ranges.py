"""Address ranges as this machine's routes show them, of both address families: which are in use, which is taken for us,
and the way in for Services.

A marker is an `unreachable` route of ours: it takes a range, and leads nowhere.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

from fairlead.node.network import netlink

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def in_use(link: netlink.Netlink, version: int) -> list[netlink.Route]:
    """The routes of that IP version that lead to a range, default routes left out."""
    return [entry for entry in link.routes(version) if entry.prefix]


def overlaps(network: Network, taken: Iterable[netlink.Route]) -> bool:
    """Whether somebody has a part of it."""
    return any(network.overlaps(ipaddress.ip_network(f"{entry.destination}/{entry.prefix}")) for entry in taken)


def is_marker(entry: netlink.Route, network: Network) -> bool:
    """Whether that route is ours, for that range."""
    return entry.protocol == netlink.PROTOCOL and entry.destination == str(network.network_address)


def mark(link: netlink.Netlink, network: Network) -> None:
    """Takes the range, or finds it taken for us. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        link.transact([netlink.add_unreachable(str(network.network_address), network.prefixlen)])


def lead(link: netlink.Netlink, services: Network, *, source: str) -> bool:
    """A route to the range of Services, on loopback, with that address for our own packets; False where the range
    overlaps somebody's network. Raises OSError."""
    others = [one for one in in_use(link, services.version) if not is_marker(one, services)]
    if overlaps(services, others):
        return False
    start = str(services.network_address)
    link.transact([netlink.add_route(start, services.prefixlen, device=netlink.LOOPBACK, source=source)])
    return True
