"""The pods' second address family: every pod's IPv6 address beside its IPv4 address, in the modes with a pod network.

A pod's IPv6 address is the second range's with the number that its IPv4 address has in the first (10.244.0.7 and
fd00:10:244::7), so there is one allocation and nothing more to remember. As for IPv4: a /128 route on the host's end,
a default route through a gateway that nobody has (fe80::1), permanent neighbours, the range taken by an `unreachable`
route. Duplicate address detection is off: who gives the addresses knows that there are none. A machine whose kernel has
IPv6 off has one family. Switching forwarding on would make it forget routes that it learned from routers: what accepts
router advertisements is told to go on (accept_ra=2), and `restore` puts both back.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
from collections.abc import Iterable
from pathlib import Path

from fairlead.base import log, privilege
from fairlead.node.network import netlink, ranges

_log = log.get(__name__)
GATEWAY = "fe80::1"
_CONF = Path("/proc/sys/net/ipv6/conf")
_NOTE = "before6.json"
_GONE = (errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)


def available() -> bool:
    """Whether IPv6 is on here: in all of the network namespace, in links to come and on loopback."""
    try:
        return all((_CONF / name / "disable_ipv6").read_text().strip() == "0" for name in ("all", "default", "lo"))
    except OSError:
        return False


def beside(first: str) -> str:
    """The IPv6 range of a pod range: 10.244.0.0/16 -> fd00:10:244::/112, whose digits read alike."""
    network = ipaddress.ip_network(first)
    one, two, *_ = str(network.network_address).split(".")
    return f"fd00:{one}:{two}::/{128 - (32 - network.prefixlen)}"


class SecondFamily:
    """One cluster's. `cidr` is "" while it has none."""

    def __init__(self, wanted: str = "") -> None:
        self._wanted = wanted
        self._first: ranges.Network | None = None
        self.cidr = ""
        self.gateway = ""
        self.services = ""

    def take(self, link: netlink.Netlink, first: str, others: Iterable[str]) -> None:
        """Takes the range beside the first one, or, where a route overlaps that, one beside `others`. Call it under the
        machine lock. Raises OSError."""
        taken = ranges.in_use(link, 6)
        self._first = ipaddress.ip_network(first)
        for candidate in [*([self._wanted] if self._wanted else []), beside(first), *map(beside, others)]:
            network = ipaddress.ip_network(candidate)
            if network.num_addresses != self._first.num_addresses:
                continue
            ours = candidate == self._wanted and any(ranges.is_marker(entry, network) for entry in taken)
            if not ours and ranges.overlaps(network, taken):
                continue
            ranges.mark(link, network)
            gateway = str(network.network_address + 1)
            link.transact([netlink.add_address(netlink.LOOPBACK, gateway)])
            self.cidr, self.gateway = candidate, gateway
            return
        _log.warning("every IPv6 range for pods is in use on this machine; they have IPv4 only")

    def lead(self, link: netlink.Netlink, services: str) -> None:
        """As KernelNetwork.lead, for that range."""
        if ranges.lead(link, ipaddress.ip_network(services), source=self.gateway):
            self.services = services

    def address(self, first: str) -> str:
        """The IPv6 address of the pod that has this IPv4 address; "" where there are none."""
        if not self.cidr or self._first is None:
            return ""
        number = int(ipaddress.ip_address(first)) - int(self._first.network_address)
        return str(ipaddress.ip_network(self.cidr).network_address + number)

    def pod_side(self, index: int, address: str, gateway_mac: str) -> list[netlink.Message]:
        """What makes that address, and the way out, in the pod's namespace."""
        return [
            netlink.add_address(index, address),
            netlink.add_neighbour(index, GATEWAY, gateway_mac),
            netlink.add_route(netlink.ANYWHERE6, 0, device=index, gateway=GATEWAY),
        ]

    def host_side(self, index: int, address: str, pod_mac: str) -> list[netlink.Message]:
        """What leads to it."""
        return [
            netlink.add_neighbour(index, address, pod_mac),
            netlink.add_route(address, 128, device=index, source=self.gateway),
        ]


def enable_here() -> None:
    """Switches IPv6 on in this thread's network namespace, a pod's: it may have the machine's settings of its birth."""
    for name in ("all", "default", "lo"):
        with contextlib.suppress(OSError):
            (_CONF / name / "disable_ipv6").write_text("0")


def clean(link: netlink.Netlink, cidr: str, services: str) -> None:
    """Removes range, gateway and the Services' route, what there is of them."""
    if services:
        range_ = ipaddress.ip_network(services)
        link.transact([netlink.delete_route(str(range_.network_address), range_.prefixlen)], ignore=_GONE)
    if cidr:
        network = ipaddress.ip_network(cidr)
        link.transact([netlink.delete_address(netlink.LOOPBACK, str(network.network_address + 1))], ignore=_GONE)
        link.transact([netlink.delete_unreachable(str(network.network_address), network.prefixlen)], ignore=_GONE)


def forward(folder: Path) -> None:
    """Switches forwarding on; what was is noted in the folder, unless the namespace is our own and ends with us."""
    everywhere = _CONF / "all" / "forwarding"
    if everywhere.read_text().strip() != "0":
        return
    listening = [path for path in _CONF.glob("*/accept_ra") if path.parent.name != "all" and _is(path, "1")]
    routing = [path for path in _CONF.glob("*/forwarding") if path.parent.name != "all" and _is(path, "1")]
    if privilege.is_root():
        before = {**dict.fromkeys(map(str, listening), "1"), **dict.fromkeys(map(str, routing), "1")}
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        (folder / _NOTE).write_text(json.dumps({str(everywhere): "0", **before}))
    for path in listening:
        with contextlib.suppress(OSError):
            path.write_text("2")
    everywhere.write_text("1")


def restore(folder: Path) -> None:
    """Puts back what `forward` noted, links that are gone left out."""
    note = folder / _NOTE
    with contextlib.suppress(FileNotFoundError):
        for path, value in json.loads(note.read_text()).items():  # "all" first: it sets the others, too
            with contextlib.suppress(OSError):
                Path(path).write_text(value)
        note.unlink()


def _is(path: Path, value: str) -> bool:
    with contextlib.suppress(OSError):
        return path.read_text().strip() == value
    return False
