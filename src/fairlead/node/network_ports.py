"""Which ports a pod really listens on: its own in its own network, free ones where it shares the host's."""

from __future__ import annotations

from typing import Any

from fairlead.node import plans
from fairlead.node.network import loopback

Object = dict[str, Any]
ANNOTATION = "fairlead.dev/ports"


def choose(pod: Object, ip: str, *, own_network: bool) -> dict[str, int]:
    """`{"8080": 43121}`: containerPort to the port of the process."""
    ports = plans.declared_ports(pod)
    if own_network:
        return {str(port): port for port in ports}
    return loopback.map_ports(ip, ports)


def moved(ports: dict[str, int]) -> dict[str, int]:
    """The ports that are not as the manifest says: what the annotation tells."""
    return {name: port for name, port in ports.items() if str(port) != name}
