"""Network mode `loopback`: pods share the host's network, each with an address of 127/8 of its own. Needs nothing.

A cluster takes one of the ranges 127.244.0.0/16 … 127.250.0.0/16 by an abstract Unix socket, so that clusters side by
side do not meet. One whose fairlead has died keeps its range by what listens there (its pods, the engine with its DNS):
taken by another, it would be lost to the next life, and adopted pods be looked for at wrong addresses. `map_ports` says
which port a pod listens on: its containerPort where it is free on the pod's address and we may bind it, else a free
one. Refuses IPv6, which has no such addresses.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from fairlead.node import protocols

RANGES = tuple(f"127.{number}.0.0/16" for number in range(244, 251))
_LOWEST_UNPRIVILEGED = 1024
FAMILY = "IPv4"
_FIRST = 2  # the first address is where DNS answers


class LoopbackNetwork:
    """The pod addresses of one cluster on `lo`."""

    mode: Literal["kernel", "rootless", "loopback"] = "loopback"
    second_cidr = second_gateway = ""  # one family

    def __init__(self, cluster: str, *, wanted: str = "", families: Sequence[str] = (FAMILY,)) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._families = families
        self._claim: socket.socket | None = None
        self._addresses: dict[str, str] = {}
        self._next = _FIRST
        self.cidr = ""
        self.gateway = "127.0.0.1"

    async def start(self) -> None:
        """Takes a range. Raises NetworkUnavailable when all are taken, and where IPv6 is asked for."""
        if self._families != (FAMILY,):
            raise protocols.NetworkUnavailable(
                "pods that share the host's network have IPv4 only: each needs an address of its own, and IPv6 has one "
                "loopback address (::1) where IPv4 has 127.0.0.0/8"
            )
        for candidate in ([self._wanted] if self._wanted else []) + list(RANGES):
            if candidate != self._wanted and _is_in_use(candidate):
                continue
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0fairlead/{candidate}")
            except OSError:
                claim.close()
                continue
            self._claim, self.cidr = claim, candidate
            return
        raise protocols.NetworkUnavailable("every loopback range is taken by another cluster of fairlead")

    async def lead(self, services: str, second_services: str = "") -> None:
        """Nothing to do: all of 127/8 is here."""

    def allocate(self, pod_uid: str, *, wanted: str = "") -> protocols.PodAddress:
        network = ipaddress.ip_network(self.cidr)
        known = self._addresses.get(pod_uid)
        used = set(self._addresses.values())
        if known is None and wanted and wanted not in used and ipaddress.ip_address(wanted) in network:
            known = wanted
        while known is None:
            candidate = str(network.network_address + self._next)
            self._next = self._next + 1 if self._next < network.num_addresses - 2 else _FIRST
            known = candidate if candidate not in used else None
        self._addresses[pod_uid] = known
        return protocols.PodAddress(known, own_network=False)

    def wiring(self, pod_uid: str) -> Sequence[protocols.Batch]:
        return ()

    async def attach(self, pod_uid: str, pid: int, *, connected: bool = False) -> None:
        """Nothing to do."""

    async def detach(self, pod_uid: str) -> None:
        self._addresses.pop(pod_uid, None)

    async def close(self) -> None:
        await self.release()

    async def release(self) -> None:
        """Gives the range back."""
        if self._claim is not None:
            self._claim.close()
            self._claim = None


def _is_in_use(cidr: str) -> bool:
    """Whether anything listens at an address of that range."""
    network = ipaddress.ip_network(cidr)
    for table, listening in (("tcp", "0A"), ("udp", "")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            address = ipaddress.IPv4Address(int(words[1].partition(":")[0], 16).to_bytes(4, sys.byteorder))
            if address in network and words[3].startswith(listening):
                return True
    return False


def map_ports(ip: str, ports: Iterable[int], *, privileged: bool | None = None) -> dict[str, int]:
    """Which port really to listen on for each containerPort: `{"8080": 43121}`."""
    may_bind_low = os.geteuid() == 0 if privileged is None else privileged
    found: dict[str, int] = {}
    held: list[socket.socket] = []
    try:
        for port in ports:
            wanted = port if port >= _LOWEST_UNPRIVILEGED or may_bind_low else 0
            found[str(port)] = _free_port(ip, wanted, held)
    finally:
        for taken in held:
            taken.close()
    return found


def _free_port(ip: str, wanted: int, held: list[socket.socket]) -> int:
    for port in (wanted, 0):
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.append(probe)
        try:
            probe.bind((ip, port))
        except OSError:
            continue
        return int(probe.getsockname()[1])
    raise protocols.NetworkUnavailable(f"no port is free on {ip}")
