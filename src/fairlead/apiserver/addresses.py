"""Service addresses and node ports: given out once, freed with the Service, rebuilt from the store at every start.

ClusterIPs come from one CIDR per address family, the first of which is the default; its first address is the API
server's own Service, the last (broadcast) is never given. Node ports come from 30000 to 32767. What a user asks for is
taken if it is free and in range. Follows Kubernetes' `pkg/registry/core/service` allocators.
"""

from __future__ import annotations

import ipaddress
import random

NODE_PORTS = range(30000, 32768)
FAMILIES = {4: "IPv4", 6: "IPv6"}
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AllocationError(ValueError):
    """The address or port cannot be given; the message is what Kubernetes says."""


class Allocator:
    """Both pools. Owners are `namespace/name` of Services; taking what one already owns is no error."""

    def __init__(self, service_cidr: str, *, source: random.Random, second_cidr: str = "") -> None:
        self.network = ipaddress.ip_network(service_cidr)
        given = [ipaddress.ip_network(one) for one in (service_cidr, second_cidr) if one]
        self._networks: dict[str, _Network] = {FAMILIES[one.version]: one for one in given}
        self.families = tuple(self._networks)
        self._random = source
        self._addresses: dict[str, str] = {}
        self._ports: dict[tuple[int, str], str] = {}

    def take_address(self, wanted: str, *, owner: str) -> None:
        """Takes that address. Raises AllocationError."""
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError as error:
            raise AllocationError("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)") from error
        network = self._networks.get(FAMILIES[address.version], self.network)
        if address not in network or address in (network.network_address, network.broadcast_address):
            raise AllocationError(
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {network}"
            )
        wanted = str(address)
        if self._addresses.get(wanted, owner) != owner:
            raise AllocationError(f"failed to allocate IP {wanted}: provided IP is already allocated")
        self._addresses[wanted] = owner

    def any_address(self, *, owner: str, family: str = "") -> str:
        """A free address of that family (the cluster's first). Raises AllocationError when there is none."""
        network = self._networks[family or self.families[0]]
        size = network.num_addresses
        for _ in range(64):
            offset = self._random.randrange(2, size - 1)
            address = str(network.network_address + offset)
            if address not in self._addresses:
                self._addresses[address] = owner
                return address
        for offset in range(2, size - 1):
            address = str(network.network_address + offset)
            if address not in self._addresses:
                self._addresses[address] = owner
                return address
        raise AllocationError("failed to allocate a serviceIP: range is full")

    def take_port(self, wanted: int, protocol: str, *, owner: str) -> None:
        """Takes that node port. Raises AllocationError."""
        if wanted not in NODE_PORTS:
            raise AllocationError("provided port is not in the valid range. The range of valid ports is 30000-32767")
        if self._ports.get((wanted, protocol), owner) != owner:
            raise AllocationError("provided port is already allocated")
        self._ports[wanted, protocol] = owner

    def any_port(self, protocol: str, *, owner: str) -> int:
        """A free node port. Raises AllocationError when there is none."""
        start = self._random.randrange(len(NODE_PORTS))
        for offset in range(len(NODE_PORTS)):
            port = NODE_PORTS[(start + offset) % len(NODE_PORTS)]
            if (port, protocol) not in self._ports:
                self._ports[port, protocol] = owner
                return port
        raise AllocationError("failed to allocate a nodePort: range is full")

    def keep(self, owner: str, *, addresses: set[str], ports: set[tuple[int, str]]) -> None:
        """Frees all of the owner's but these."""
        kept = {_canonical(one) for one in addresses}
        for address in [known for known, user in self._addresses.items() if user == owner and known not in kept]:
            del self._addresses[address]
        for port in [known for known, user in self._ports.items() if user == owner and known not in ports]:
            del self._ports[port]


def family(address: str) -> str:
    """IPv4 or IPv6; "" for what is no address."""
    try:
        return FAMILIES[ipaddress.ip_address(address).version]
    except ValueError:
        return ""


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
