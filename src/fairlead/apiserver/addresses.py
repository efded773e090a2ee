"""Service addresses and node ports: given out once, freed with the Service, rebuilt from the store at every start.

ClusterIPs come from one CIDR; its first address is the API server's own Service, the last (broadcast) is never given.
Node ports come from 30000 to 32767. What a user asks for is taken if it is free and in range. Follows Kubernetes'
`pkg/registry/core/service` allocators; without dual stack.
"""

from __future__ import annotations

import ipaddress
import random

NODE_PORTS = range(30000, 32768)


class AllocationError(ValueError):
    """The address or port cannot be given; the message is what Kubernetes says."""


class Allocator:
    """Both pools. Owners are `namespace/name` of Services; taking what one already owns is no error."""

    def __init__(self, service_cidr: str, *, source: random.Random) -> None:
        self.network = ipaddress.ip_network(service_cidr)
        self._random = source
        self._addresses: dict[str, str] = {}
        self._ports: dict[tuple[int, str], str] = {}

    def take_address(self, wanted: str, *, owner: str) -> None:
        """Takes that address. Raises AllocationError."""
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError as error:
            raise AllocationError("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)") from error
        if address not in self.network or address in (self.network.network_address, self._last()):
            raise AllocationError(
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {self.network}"
            )
        if self._addresses.get(wanted, owner) != owner:
            raise AllocationError(f"failed to allocate IP {wanted}: provided IP is already allocated")
        self._addresses[wanted] = owner

    def _last(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return self.network.broadcast_address

    def any_address(self, *, owner: str) -> str:
        """A free address. Raises AllocationError when there is none."""
        size = self.network.num_addresses
        for _ in range(64):
            offset = self._random.randrange(2, size - 1)
            address = str(self.network.network_address + offset)
            if address not in self._addresses:
                self._addresses[address] = owner
                return address
        for offset in range(2, size - 1):
            address = str(self.network.network_address + offset)
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
        for address in [known for known, user in self._addresses.items() if user == owner and known not in addresses]:
            del self._addresses[address]
        for port in [known for known, user in self._ports.items() if user == owner and known not in ports]:
            del self._ports[port]
