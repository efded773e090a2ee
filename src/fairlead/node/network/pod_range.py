"""The pods' addresses of one address family, in the modes with a pod network: a range, and what leads to each of it.

A pod has one number, and by it an address in the range of each family that its cluster has (10.244.0.7 and
fd00:10:244::7), so there is one allocation and nothing more to remember. Each address is a route of its own on the
host's end of the pod's link; in the pod, a default route goes through a gateway that nobody has; neighbours are
permanent on both ends. The range is taken by an `unreachable` route. Duplicate address detection is off: who gives the
addresses knows that there are none.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable

from fairlead.node.network import netlink, ranges

FAMILIES = {"IPv4": 4, "IPv6": 6}
SIZE = 65536  # addresses of a range
_NUMBERS = (*range(244, 255), *range(200, 232))
_WAY_OUT = {4: ("169.254.1.1", netlink.ANYWHERE, 32), 6: ("fe80::1", netlink.ANYWHERE6, 128)}
_GONE = (errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)


def candidate(version: int, number: int) -> str:
    """The range with that number, whose digits read alike in both families: 10.244.0.0/16 and fd00:10:244::/112."""
    return f"10.{number}.0.0/16" if version == 4 else f"fd00:10:{number}::/112"


class PodRange:
    """One cluster's, of one family. `cidr` and `gateway` are "" until a range is taken."""

    def __init__(self, version: int, *, wanted: str = "", avoid: Iterable[str] = ()) -> None:
        self.version = version
        self._wanted = wanted
        self._avoid = [ipaddress.ip_network(one) for one in avoid]
        self._start = 0
        self.cidr = ""
        self.gateway = ""
        self.services = ""

    def take(self, link: netlink.Netlink, *, beside: str = "") -> bool:
        """Takes the wanted range, the one that reads like the range `beside` it, or a free one; False where none is.
        Call it under the machine lock. Raises OSError."""
        taken = ranges.in_use(link, self.version)
        for one in self._candidates(beside):
            network = ipaddress.ip_network(one)
            ours = one == self._wanted and any(ranges.is_marker(entry, network) for entry in taken)
            if not ours and (ranges.overlaps(network, taken) or any(network.overlaps(known) for known in self._avoid)):
                continue
            ranges.mark(link, network)
            self._start = int(network.network_address)
            self.cidr, self.gateway = one, self.address(1)
            link.transact([netlink.add_address(netlink.LOOPBACK, self.gateway)])
            return True
        return False

    def _candidates(self, beside: str) -> list[str]:
        wanted = self._wanted and ipaddress.ip_network(self._wanted)
        fits = wanted and wanted.version == self.version and wanted.num_addresses == SIZE
        other = 6 if self.version == 4 else 4
        alike = [number for number in _NUMBERS if candidate(other, number) == beside]
        numbers = dict.fromkeys((*alike, *_NUMBERS))
        return [*([self._wanted] if fits else []), *(candidate(self.version, number) for number in numbers)]

    def lead(self, link: netlink.Netlink, services: str) -> None:
        """A route for the range of Services: a packet needs one before the kernel plane may change where it goes. Left
        out where the range overlaps somebody's network."""
        if ranges.lead(link, ipaddress.ip_network(services), source=self.gateway):
            self.services = services

    def address(self, number: int) -> str:
        """The address of that number."""
        if self.version == 4:
            return socket.inet_ntop(socket.AF_INET, (self._start + number).to_bytes(4))
        return socket.inet_ntop(socket.AF_INET6, (self._start + number).to_bytes(16))

    def number(self, address: str) -> int:
        """The number of an address; 0 for what is none of the range's."""
        if not address:
            return 0
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return 0
        number = int(found) - self._start
        return number if found.version == self.version and 1 < number < SIZE - 1 else 0

    def pod_side(self, index: int, number: int, gateway_mac: str) -> list[netlink.Message]:
        """What makes the address of that number, and the way out, in the pod's namespace."""
        gateway, anywhere, _ = _WAY_OUT[self.version]
        return [
            netlink.add_address(index, self.address(number)),
            netlink.add_neighbour(index, gateway, gateway_mac),
            netlink.add_route(anywhere, 0, device=index, gateway=gateway, onlink=self.version == 4),
        ]

    def host_side(self, index: int, number: int, pod_mac: str) -> list[netlink.Message]:
        """What leads to it."""
        address = self.address(number)
        return [
            netlink.add_neighbour(index, address, pod_mac),
            netlink.add_route(address, _WAY_OUT[self.version][2], device=index, source=self.gateway),
        ]


def clean(link: netlink.Netlink, cidr: str, services: str) -> None:
    """Removes a range, its gateway and the Services' route, what there is of them. Call it under the machine lock."""
    if services:
        range_ = ipaddress.ip_network(services)
        link.transact([netlink.delete_route(str(range_.network_address), range_.prefixlen)], ignore=_GONE)
    network = ipaddress.ip_network(cidr)
    link.transact([netlink.delete_address(netlink.LOOPBACK, str(network.network_address + 1))], ignore=_GONE)
    link.transact([netlink.delete_unreachable(str(network.network_address), network.prefixlen)], ignore=_GONE)


def is_last(link: netlink.Netlink, version: int) -> bool:
    """Whether no cluster of ours has a range of that family any more."""
    return not any(entry.protocol == netlink.PROTOCOL and entry.kind == 7 for entry in link.routes(version))
