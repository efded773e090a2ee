"""What a translation must know of the place where its table will work. Nothing here comes from a user's object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fairlead.routing import table

UNPRIVILEGED_SHIFT = 8000
ZONE = "topology.kubernetes.io/zone"  # the label of a Node


@dataclass(frozen=True, slots=True)
class Settings:
    """One node, its network mode (DESIGN §5) and its doors.

    `lowest_port` is the first port that may be bound there; a lower Service port is carried at port + 8000.
    `gateway` (IPv4) and `gateway6`, as far as pods have that family, are the node's addresses on the pod network, where
    the engine listens for what the kernel redirects to it.
    """

    node: str = "localhost"
    zone: str = ""
    network: Literal["kernel", "rootless", "loopback"] = "loopback"
    connect_time: bool = False  # whether the kernel leads local clients straight to endpoints; only `explain` asks
    lowest_port: int = 1024
    gateway: str = ""
    gateway6: str = ""
    transparent_tcp_port: int = 15001
    transparent_http_port: int = 15006
    localhost: tuple[str, ...] = ("127.0.0.1",)  # the loopback addresses that the machine has
    edge_http: tuple[str, ...] = ("tcp:127.0.0.1:8080", "tcp:[::1]:8080")
    edge_https: tuple[str, ...] = ("tcp:127.0.0.1:8443", "tcp:[::1]:8443")
    edge_addresses: tuple[str, ...] = ("127.0.0.1",)
    ingress_controller: str = "fairlead.dev/ingress-controller"
    ingress_classes: tuple[str, ...] = ("fairlead",)
    ingress_nginx: bool = False  # take Ingresses of class nginx, with the behaviour of ingress-nginx
    ingress_nginx_config: str = "ingress-nginx/ingress-nginx-controller"  # its ConfigMap
    default_certificate: table.Certificate | None = None  # for https at hosts whose Ingress brings none
    check_certificates: bool = True  # whether certificates and keys are read (only a report on manifests does not)
    cluster_domain: str = "cluster.local"
    access_log: table.AccessLog | None = None  # of the edge
    dns: tuple[str, ...] = ()  # sockets on which the engine answers for the cluster domain

    @property
    def everywhere(self) -> tuple[str, ...]:
        """What stands for all of the machine's addresses, one for each address family that it has."""
        return every_address(self.localhost)

    @property
    def kernel(self) -> bool:
        """Whether Service addresses are the kernel's to carry."""
        return self.network != "loopback"

    def carried_port(self, port: int) -> int:
        """Where a Service's port is listened on by a socket of this node."""
        return port if port >= self.lowest_port else port + UNPRIVILEGED_SHIFT


def socket_id(transport: str, address: str, port: int) -> str:
    """The self-describing name of a socket: `tcp:127.0.0.1:8080`, `udp:[::1]:53`."""
    return f"{transport}:{bracketed(address)}:{port}"


def every_address(localhost: Iterable[str]) -> tuple[str, ...]:
    """The unspecified address of each family that these loopback addresses are of."""
    return tuple("::" if ":" in one else "0.0.0.0" for one in localhost)  # noqa: S104


def bracketed(address: str) -> str:
    """An address as it stands before a port."""
    return f"[{address}]" if ":" in address else address
