"""Network mode `kernel`: every pod has a network namespace and an address, the host's IP stack carries all of it.

No bridge. A veth pair per pod; addresses, routes and ranges of each address family are `pod_range`'s. Clusters side by
side choose different ranges. Whose a link is stands in its alias. `close`, or `clean` after a crash, removes all of
it; the last of our clusters restores what it switched on. Masquerading is the nftables plane's work: it is told the
ranges. The first family is the one of `cidr` and `gateway`; a second one that was not asked for is left out where it
cannot be had.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import hashlib
import itertools
import json
import os
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from fairlead.base import log, privilege, slices
from fairlead.node import protocols
from fairlead.node.network import accepted, ipv6, netlink, pod_range

_log = log.get(__name__)
_Result = TypeVar("_Result")

MTU = 1500
BOTH = ("IPv4", "IPv6")
_POD_INDEX = 2  # the next after lo, as every pod's eth0 has it
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
        second_wanted: str = "",
        avoid: tuple[str, ...] = (),
        families: Sequence[str] = BOTH,
        all_required: bool = False,
        mode: Literal["kernel", "rootless"] = "kernel",
    ) -> None:
        """`wanted` is the first family's range, `all_required` says that a second family is no bonus."""
        self.mode = mode
        self._cluster = cluster
        asked = itertools.zip_longest(families, (wanted, second_wanted)[: len(families)], fillvalue="")
        self._asked = [pod_range.PodRange(pod_range.FAMILIES[family], wanted=one, avoid=avoid) for family, one in asked]
        self._all_required = all_required
        self._ranges: list[pod_range.PodRange] = []
        self._numbers: dict[str, int] = {}
        self._namespaces: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self.on_namespace: Callable[[str, int], None] = lambda pod_uid, number: None
        self._next = 2
        # One thread: the kernel serializes these anyway, and namespaces are entered by thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fairlead-netlink", initializer=slices.long)
        self._link: netlink.Netlink | None = None
        self._has_ipv6 = ipv6.known()

    @property
    def cidr(self) -> str:
        """The pods' range of their first family."""
        return self._ranges[0].cidr if self._ranges else ""

    @property
    def gateway(self) -> str:
        """The node's address among the pods, of the first family."""
        return self._ranges[0].gateway if self._ranges else ""

    @property
    def second_cidr(self) -> str:
        """As `cidr`, of the second family; "" where there is none."""
        return self._ranges[1].cidr if len(self._ranges) > 1 else ""

    @property
    def second_gateway(self) -> str:
        """As `gateway`, of the second family; "" where there is none."""
        return self._ranges[1].gateway if len(self._ranges) > 1 else ""

    async def start(self) -> None:
        """Takes a range of each family and makes the host forward. Raises NetworkUnavailable and then holds nothing."""
        try:
            await self._run(self._start)
        except protocols.NetworkUnavailable:
            await self.release()
            raise

    def _start(self) -> None:
        try:
            self._link = netlink.Netlink.here()
        except OSError as error:
            raise protocols.NetworkUnavailable(f"the kernel does not let us make a pod network: {error}") from error
        for one in self._asked:
            why = self._take(self._link, one)
            if why and (not self._ranges or self._all_required):
                self._give_back(self._link)
                raise protocols.NetworkUnavailable(why)
            if why:
                _log.warning("pods have one address family only", why=why)

    def _take(self, link: netlink.Netlink, one: pod_range.PodRange) -> str:
        """Why that family cannot be had; "" when it is."""
        if one.version == 6 and not ipv6.available():
            return "this machine has IPv6 switched off (net.ipv6.conf.{all,default,lo}.disable_ipv6)"
        try:
            with _machine_lock():
                if one.version == 6:
                    ipv6.forward(_namespace_folder())
                else:
                    _forward(on=True)
                if not one.take(link, beside=self.cidr):
                    _restore(link, one.version)
                    return f"every IPv{one.version} address range for pods is in use on this machine"
                self._ranges.append(one)
        except PermissionError as error:
            return f"needs root (CAP_NET_ADMIN); without it there are --network rootless and loopback ({error})"
        except OSError as error:
            return f"the kernel does not let us make a pod network: {error}"
        return ""

    def _give_back(self, link: netlink.Netlink) -> None:
        """What was taken before the start had to be given up."""
        with _machine_lock():
            for one in self._ranges:
                pod_range.clean(link, one.cidr, "")
                _restore(link, one.version)
        self._ranges.clear()

    async def lead(self, services: str, second_services: str = "") -> None:
        """Routes for the Service ranges, of each family."""
        await self._run(self._lead, (services, second_services))

    def _lead(self, services: Sequence[str]) -> None:
        assert self._link is not None
        for one, network in zip(self._ranges, services, strict=False):
            if network:
                one.lead(self._link, network)

    def allocate(self, pod_uid: str, *, wanted: str = "") -> protocols.PodAddress:
        number = self._numbers.get(pod_uid, 0)
        if not number:
            used = set(self._numbers.values())
            number = self._ranges[0].number(wanted)
            if not number or number in used:
                number = self._free(used)
            self._numbers[pod_uid] = number
        own, *others = [one.address(number) for one in self._ranges]
        return protocols.PodAddress(own, own_network=True, second="".join(others))

    def _free(self, used: set[int]) -> int:
        for _ in range(pod_range.SIZE):
            candidate = self._next
            self._next = candidate + 1 if candidate < pod_range.SIZE - 2 else 2
            if candidate not in used:
                return candidate
        raise protocols.NetworkUnavailable(f"no address is left in {self.cidr}")

    def link_name(self, pod_uid: str) -> str:
        """The host's end of that pod's veth pair."""
        return "fl" + hashlib.sha256(f"{self._cluster}/{pod_uid}".encode()).hexdigest()[:11]

    def wiring(self, pod_uid: str) -> Sequence[protocols.Batch]:
        """The pair is made in the pod's namespace, with indices that are known before: what needs them is sent at
        once. The kernel refuses it where one is taken; then `attach` does it step by step."""
        name, number = self.link_name(pod_uid), self._numbers[pod_uid]
        ours, theirs = _macs(name)
        index = _host_index(self.cidr, number)
        veth = netlink.new_veth(
            "eth0",
            mac=theirs,
            peer=name,
            peer_mac=ours,
            peer_in=netlink.Namespace("descriptor", protocols.OUTSIDE),
            mtu=MTU,
            index=_POD_INDEX,
            peer_index=index,
            up=True,
        )
        sides = (one.pod_side(_POD_INDEX, number, ours) for one in self._ranges)
        here = [netlink.without_ipv6(name)] if self._has_ipv6 else []
        here += [netlink.set_alias(name, _alias(self._cluster, pod_uid), up=True)]
        here += self._host_side(index, number, theirs)
        return (
            protocols.Batch(inside=True, messages=netlink.batch([veth, *itertools.chain(*sides)])),
            protocols.Batch(inside=False, messages=netlink.batch(here)),
            protocols.Batch(inside=True, messages=netlink.batch([netlink.look_at(_POD_INDEX)])),
        )

    async def attach(self, pod_uid: str, pid: int, *, connected: bool = False) -> None:
        """Connects that process's namespace; nothing happens when it is connected already."""
        if connected:  # a look takes less time than to hand it to the thread
            self._look(pod_uid, pid)
        else:
            await self._run(self._attach, pod_uid, pid)
        self.on_namespace(pod_uid, self._namespaces.get(pod_uid, 0))

    def _look(self, pod_uid: str, pid: int) -> None:
        with netlink.inside(pid) as there:
            self._namespaces[pod_uid], self._pids[pod_uid] = there.namespace(), pid

    def _attach(self, pod_uid: str, pid: int) -> None:
        with netlink.inside(pid) as there:
            self._namespaces[pod_uid], self._pids[pod_uid] = there.namespace(), pid
            self._connect(pod_uid, pid, there)

    def _connect(self, pod_uid: str, pid: int, there: netlink.Netlink) -> None:
        assert self._link is not None
        name, number = self.link_name(pod_uid), self._numbers[pod_uid]
        ours, theirs = _macs(name)
        veth = [
            netlink.new_veth(
                name, mac=ours, peer="eth0", peer_mac=theirs, peer_in=netlink.Namespace("pid", pid), mtu=MTU
            ),
            netlink.set_alias(name, _alias(self._cluster, pod_uid)),
            netlink.without_ipv6(name),
        ]
        try:
            self._link.transact(veth, ignore=(errno.EAFNOSUPPORT,))
        except FileExistsError:
            if not any(link.name == "eth0" for link in there.links()):
                self._link.transact([netlink.delete_link(name)], ignore=_GONE)
                self._link.transact(veth, ignore=(errno.EAFNOSUPPORT,))
        pod_index = there.index("eth0")
        self._pod_side(pid, there, pod_index, number, ours)
        index = socket.if_nametoindex(name)
        self._link.transact([netlink.set_up(index), *self._host_side(index, number, theirs)])
        there.transact([netlink.look_at(pod_index)])

    def _pod_side(self, pid: int, there: netlink.Netlink, index: int, number: int, gateway_mac: str) -> None:
        """The pod's addresses; a namespace that was born with IPv6 off has it switched on."""
        there.transact([netlink.set_up(netlink.LOOPBACK), netlink.set_up(index)])
        for one in self._ranges:
            messages = one.pod_side(index, number, gateway_mac)
            try:
                there.transact(messages)
            except PermissionError:
                with netlink.visiting(f"/proc/{pid}/ns/net"):
                    ipv6.enable_here()
                there.transact(messages)

    def _host_side(self, index: int, number: int, pod_mac: str) -> list[netlink.Message]:
        return list(itertools.chain(*(one.host_side(index, number, pod_mac) for one in self._ranges)))

    async def accepted(self, address: str, before: Sequence[bytes] = ()) -> Sequence[bytes] | None:
        """The established TCP connections that the pod of that address has accepted, see `accepted`; None where it
        cannot be asked."""
        number = next((found for one in self._ranges if (found := one.number(address))), 0)
        pod_uid = next((uid for uid, known in self._numbers.items() if number and known == number), "")
        pid, namespace = self._pids.get(pod_uid, 0), self._namespaces.get(pod_uid, 0)
        if not pid or not namespace:
            return None
        own = [one.address(number) for one in self._ranges]
        try:
            return await self._run(
                functools.partial(accepted.connections, pid, own, namespace=namespace, before=before)
            )
        except OSError:
            return None

    async def detach(self, pod_uid: str) -> None:
        await self._run(self._detach, pod_uid)
        self._numbers.pop(pod_uid, None)
        self._pids.pop(pod_uid, None)
        if self._namespaces.pop(pod_uid, 0):
            self.on_namespace(pod_uid, 0)

    def _detach(self, pod_uid: str) -> None:
        assert self._link is not None
        self._link.transact([netlink.delete_link(self.link_name(pod_uid))], ignore=_GONE)

    async def close(self) -> None:
        """Removes links, addresses, the ranges and, when no other cluster of ours is left, the sysctls."""
        if self._ranges:
            given = [(one.cidr, one.services) for one in self._ranges]
            await self._run(clean, self._cluster, given)
        self._ranges = []
        await self.release()

    async def release(self) -> None:
        """Lets go without removing anything: the pods stay connected."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._thread.shutdown(wait=False)

    async def _run(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def clean(cluster: str, given: Sequence[tuple[str, str]]) -> None:
    """Removes what that cluster made, also when its process died without doing so; `given` are its ranges of pods and
    of Services, for each address family. Blocking; safe to call twice."""
    with netlink.Netlink.here() as link:
        mine = [entry.name for entry in link.links() if entry.alias.startswith(_alias(cluster, ""))]
        for name in mine:
            link.transact([netlink.delete_link(name)], ignore=_GONE)
        with _machine_lock():
            for cidr, services in given:
                pod_range.clean(link, cidr, services)
                _restore(link, 6 if ":" in cidr else 4)


def _restore(link: netlink.Netlink, version: int) -> None:
    """Puts forwarding back with the last cluster of that family. Call it under the machine lock."""
    if not pod_range.is_last(link, version):
        return
    if version == 6:
        ipv6.restore(_namespace_folder())
    else:
        _forward(on=False)


def _host_index(cidr: str, number: int) -> int:
    """An index that no other link has: the kernel counts its own from 1. (Of two clusters with the same one, once in
    4,096, the second has its pods connected by `attach`.)"""
    return 1 << 28 | (zlib.crc32(cidr.encode()) & 0xFFF) << 16 | number


def _alias(cluster: str, pod_uid: str) -> str:
    return f"fairlead/{cluster}/{pod_uid}"


def _macs(name: str) -> tuple[str, str]:
    digest = hashlib.sha256(name.encode()).digest()
    return f"02:{digest[:5].hex(':')}", f"06:{digest[5:10].hex(':')}"


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
