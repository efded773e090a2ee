"""Network mode `kernel`: every pod has a network namespace and an address, the host's IP stack carries all of it.

No bridge. A veth pair per pod, the pod's address a /32 route on the host's end, in the pod a default route through
169.254.1.1, permanent neighbours on both sides. The range is taken with an `unreachable` route, so that clusters side
by side choose different ones. Whose a link is stands in its alias. `close`, or `clean` after a crash, removes all of
it; the last of our clusters restores `ip_forward`. Masquerading is the nftables plane's work: it is told `cidr`. Where
the kernel has IPv6, pods have an address of that family, too (`second`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import ipaddress
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from fairlead.base import log, privilege
from fairlead.node import protocols
from fairlead.node.network import netlink, ranges, second

_log = log.get(__name__)

RANGES = ("10.244.0.0/16", *(f"10.{number}.0.0/16" for number in (*range(245, 255), *range(200, 232))))
GATEWAY = "169.254.1.1"
MTU = 1500
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_GONE = (errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)


class KernelNetwork:
    """The pod network of one cluster. `cidr` and `gateway` are known after `start`. `on_namespace(pod_uid, number)` is
    told the pods' network namespaces as they are connected, 0 when one is gone."""

    mode: Literal["kernel", "rootless", "loopback"]

    def __init__(
        self,
        cluster: str,
        *,
        wanted: str = "",
        wanted6: str = "",
        avoid: tuple[str, ...] = (),
        mode: Literal["kernel", "rootless"] = "kernel",
    ) -> None:
        self.mode = mode
        self._cluster = cluster
        self._wanted = wanted
        self._avoid = avoid
        self.cidr = ""
        self.gateway = ""
        self._services = ""
        self._second = second.SecondFamily(wanted6)
        self._addresses: dict[str, str] = {}
        self._namespaces: dict[str, int] = {}
        self.on_namespace: Callable[[str, int], None] = lambda pod_uid, number: None
        self._next = 2
        # One thread: the kernel serializes these anyway, and namespaces are entered by thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fairlead-netlink")
        self._link: netlink.Netlink | None = None

    @property
    def cidr6(self) -> str:
        """The pods' IPv6 range; "" where there is none."""
        return self._second.cidr

    @property
    def gateway6(self) -> str:
        """The node's IPv6 address among the pods."""
        return self._second.gateway

    async def start(self) -> None:
        """Takes a range and makes the host forward. Raises NetworkUnavailable."""
        await self._run(self._start)

    def _start(self) -> None:
        try:
            self._link = netlink.Netlink.here()
            self._take_range(self._link)
            self._link.transact([netlink.add_address(netlink.LOOPBACK, self.gateway)])
            _forward(on=True)
        except PermissionError as error:
            words = f"needs root (CAP_NET_ADMIN); without it there are --network rootless and loopback ({error})"
            raise protocols.NetworkUnavailable(words) from error
        except OSError as error:
            raise protocols.NetworkUnavailable(f"the kernel does not let us make a pod network: {error}") from error
        if second.available():
            self._take_second(self._link)

    def _take_second(self, link: netlink.Netlink) -> None:
        try:
            with _machine_lock():
                second.forward(_namespace_folder())
                self._second.take(link, self.cidr, RANGES)
        except OSError as error:
            _log.warning("pods have IPv4 only", why=str(error))

    def _take_range(self, link: netlink.Netlink) -> None:
        with _machine_lock():
            taken = ranges.in_use(link, 4)
            for candidate in ([self._wanted] if self._wanted else []) + list(RANGES):
                network = ipaddress.ip_network(candidate)
                ours = candidate == self._wanted and any(ranges.is_marker(entry, network) for entry in taken)
                if not ours and (ranges.overlaps(network, taken) or self._is_avoided(network)):
                    continue
                ranges.mark(link, network)
                self.cidr, self.gateway = candidate, str(network.network_address + 1)
                return
        raise protocols.NetworkUnavailable("every address range for pods is in use on this machine")

    async def lead(self, services: str, services6: str = "") -> None:
        """Routes for the Service ranges: a packet needs one before the kernel plane may change where it goes. Left
        out where the range overlaps somebody's network."""
        await self._run(self._lead, ipaddress.ip_network(services))
        if services6 and self._link is not None:
            await self._run(self._second.lead, self._link, services6)

    def _lead(self, services: ranges.Network) -> None:
        assert self._link is not None
        if ranges.lead(self._link, services, source=self.gateway):
            self._services = str(services)

    def _is_avoided(self, network: ranges.Network) -> bool:
        return any(network.overlaps(ipaddress.ip_network(entry)) for entry in self._avoid)

    def allocate(self, pod_uid: str, *, wanted: str = "") -> protocols.PodAddress:
        network = ipaddress.ip_network(self.cidr)
        known = self._addresses.get(pod_uid)
        used = set(self._addresses.values())
        if known is None and wanted and wanted not in used and ipaddress.ip_address(wanted) in network:
            known = wanted
        if known is None:
            known = self._free(network, used)
        self._addresses[pod_uid] = known
        return protocols.PodAddress(known, own_network=True, ip6=self._second.address(known))

    def _free(self, network: ranges.Network, used: set[str]) -> str:
        size = network.num_addresses
        for _ in range(size):
            candidate = str(network.network_address + self._next)
            self._next = self._next + 1 if self._next < size - 2 else 2
            if candidate not in used:
                return candidate
        raise protocols.NetworkUnavailable(f"no address is left in {self.cidr}")

    def link_name(self, pod_uid: str) -> str:
        """The host's end of that pod's veth pair."""
        return "fl" + hashlib.sha256(f"{self._cluster}/{pod_uid}".encode()).hexdigest()[:11]

    async def attach(self, pod_uid: str, pid: int) -> None:
        """Connects that process's namespace; nothing happens when it is connected already."""
        await self._run(self._attach, pod_uid, pid)
        self.on_namespace(pod_uid, self._namespaces.get(pod_uid, 0))

    def _attach(self, pod_uid: str, pid: int) -> None:
        with netlink.inside(pid) as there:
            self._namespaces[pod_uid] = there.namespace()
            self._connect(pod_uid, pid, there)

    def _connect(self, pod_uid: str, pid: int, there: netlink.Netlink) -> None:
        assert self._link is not None
        name, ip = self.link_name(pod_uid), self._addresses[pod_uid]
        ours, theirs = _macs(name)
        veth = [
            netlink.new_veth(name, mac=ours, peer="eth0", peer_mac=theirs, peer_pid=pid, mtu=MTU),
            netlink.set_alias(name, _alias(self._cluster, pod_uid)),
            netlink.without_ipv6(name),
        ]
        is_new = True
        try:
            self._link.transact(veth, ignore=(errno.EAFNOSUPPORT,))
        except FileExistsError:
            is_new = not any(link.name == "eth0" for link in there.links())
            if is_new:
                self._link.transact([netlink.delete_link(name)], ignore=_GONE)
                self._link.transact(veth, ignore=(errno.EAFNOSUPPORT,))
        index = there.index("eth0")
        if is_new:
            there.transact(_pod_side(index, ip, ours))
        self._second_side(pid, there, index, ip, ours)
        self._host_side(name, ip, theirs)

    def _second_side(self, pid: int, there: netlink.Netlink, index: int, ip: str, gateway_mac: str) -> None:
        """The pod's IPv6 address; a namespace that was born with IPv6 off has it switched on."""
        if not (address := self._second.address(ip)):
            return
        messages = self._second.pod_side(index, address, gateway_mac)
        try:
            there.transact(messages)
        except PermissionError:
            with netlink.visiting(f"/proc/{pid}/ns/net"):
                second.enable_here()
            there.transact(messages)

    def _host_side(self, name: str, ip: str, pod_mac: str) -> None:
        assert self._link is not None
        index = socket.if_nametoindex(name)
        self._link.transact(
            [
                netlink.set_up(index),
                netlink.add_neighbour(index, ip, pod_mac),
                netlink.add_route(ip, 32, device=index, source=self.gateway),
                *(self._second.host_side(index, address, pod_mac) if (address := self._second.address(ip)) else ()),
            ]
        )

    async def detach(self, pod_uid: str) -> None:
        await self._run(self._detach, pod_uid)
        self._addresses.pop(pod_uid, None)
        if self._namespaces.pop(pod_uid, 0):
            self.on_namespace(pod_uid, 0)

    def _detach(self, pod_uid: str) -> None:
        assert self._link is not None
        self._link.transact([netlink.delete_link(self.link_name(pod_uid))], ignore=_GONE)

    async def close(self) -> None:
        """Removes links, addresses, the range and, when no other cluster of ours is left, the sysctl."""
        if self.cidr:
            own = self._second
            await self._run(clean, self._cluster, self.cidr, self._services, own.cidr, own.services)
        self.cidr = ""
        await self.release()

    async def release(self) -> None:
        """Lets go without removing anything: the pods stay connected."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._thread.shutdown(wait=False)

    async def _run(self, function: object, *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)  # type: ignore[arg-type]


def clean(cluster: str, cidr: str, services: str = "", cidr6: str = "", services6: str = "") -> None:
    """Removes what that cluster made, also when its process died without doing so. Blocking; safe to call twice."""
    network = ipaddress.ip_network(cidr)
    with netlink.Netlink.here() as link:
        mine = [entry.name for entry in link.links() if entry.alias.startswith(_alias(cluster, ""))]
        for name in mine:
            link.transact([netlink.delete_link(name)], ignore=_GONE)
        if services:
            range_ = ipaddress.ip_network(services)
            link.transact([netlink.delete_route(str(range_.network_address), range_.prefixlen)], ignore=_GONE)
        link.transact([netlink.delete_address(netlink.LOOPBACK, str(network.network_address + 1))], ignore=_GONE)
        with _machine_lock():
            second.clean(link, cidr6, services6)
            link.transact([netlink.delete_unreachable(str(network.network_address), network.prefixlen)], ignore=_GONE)
            if not any(entry.protocol == netlink.PROTOCOL and entry.kind == 7 for entry in link.routes()):
                _forward(on=False)
                second.restore(_namespace_folder())


def _pod_side(index: int, ip: str, gateway_mac: str) -> list[netlink.Message]:
    """What makes that address, and the way out, in the pod's namespace."""
    return [
        netlink.set_up(netlink.LOOPBACK),
        netlink.add_address(index, ip),
        netlink.set_up(index),
        netlink.add_neighbour(index, GATEWAY, gateway_mac),
        netlink.add_route(netlink.ANYWHERE, 0, device=index, gateway=GATEWAY, onlink=True),
    ]


def _alias(cluster: str, pod_uid: str) -> str:
    return f"fairlead/{cluster}/{pod_uid}"


def _macs(name: str) -> tuple[str, str]:
    digest = hashlib.sha256(name.encode()).hexdigest()
    pairs = [digest[at : at + 2] for at in range(0, 20, 2)]
    return ":".join(["02", *pairs[:5]]), ":".join(["06", *pairs[5:10]])


def _namespace_folder() -> Path:
    run = Path("/run") if privilege.is_root() else Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = "fairlead" if privilege.is_root() else f"fairlead-{privilege.real_uid()}"
    return run / folder / f"net-{Path('/proc/thread-self/ns/net').stat().st_ino}"


@contextlib.contextmanager
def _machine_lock() -> Iterator[None]:
    """Clusters of one network namespace take ranges one after another."""
    folder = _namespace_folder()
    descriptor = _locked(folder)
    try:
        yield
    finally:
        os.close(descriptor)
        for path in (folder, folder.parent):
            with contextlib.suppress(OSError):
                path.rmdir()  # only an empty one goes


def _locked(folder: Path) -> int:
    while True:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists() and os.fstat(descriptor).st_ino == folder.stat().st_ino:
                return descriptor
            os.close(descriptor)


def _forward(*, on: bool) -> None:
    """Switches forwarding on and remembers what it was, or puts that back. Call under the machine lock or alone."""
    note = _namespace_folder() / "before.json"
    if on:
        before = _FORWARD.read_text().strip()
        if before == "0" and not privilege.is_root():
            _FORWARD.write_text("1")  # of a namespace of our own, with which it ends
        elif before == "0":
            note.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            note.write_text(json.dumps({"ip_forward": before}))
            _FORWARD.write_text("1")
        return
    with contextlib.suppress(FileNotFoundError):
        _FORWARD.write_text(json.loads(note.read_text())["ip_forward"])
        note.unlink()
