"""Which ports a pod really listens on: its own in its own network, free ones where it shares the host's."""

from __future__ import annotations

from typing import Any, Literal

from fairlead.node import plans, protocols
from fairlead.node.network import loopback

Object = dict[str, Any]
ANNOTATION = "fairlead.dev/ports"


def choose(pod: Object, ip: str, *, own_network: bool) -> dict[str, int]:
    """`{"8080": 43121}`: containerPort to the port of the process."""
    ports = plans.declared_ports(pod)
    if own_network:
        return {str(port): port for port in ports}
    return loopback.map_ports(ip, ports)


def of_the_host(pod: Object, ip: str, ports: dict[str, int]) -> list[protocols.HostPort]:
    """The `hostPort`s of a pod, and where each leads. A pod in the host's network has none to open."""
    if pod["spec"].get("hostNetwork"):
        return []
    found = []
    for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]:
        for entry in container.get("ports") or []:
            protocol = str(entry.get("protocol") or "TCP").lower()
            if entry.get("hostPort") and protocol in ("tcp", "udp"):
                to = ports.get(str(entry["containerPort"]), int(entry["containerPort"]))
                address = entry.get("hostIP") or ""
                kind: Literal["tcp", "udp"] = "tcp" if protocol == "tcp" else "udp"
                found.append(protocols.HostPort(kind, address, int(entry["hostPort"]), ip, to))
    return found


def moved(ports: dict[str, int]) -> dict[str, int]:
    """The ports that are not as the manifest says: what the annotation tells."""
    return {name: port for name, port in ports.items() if str(port) != name}
