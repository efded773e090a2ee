"""Addresses, ports and environment that a local cluster takes from its machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from fairlead.base import privilege
from fairlead.routing import settings

DNS_PORT = 53


def services_beside(pod_cidr: str) -> str:
    """The Service range that goes with a pod range: 10.244.0.0/16 -> 10.96.0.0/16, 127.244.0.0/16 -> 127.96.0.0/16,
    fd00:10:244::/112 -> fd00:10:96::/112, whose groups are read as decimal numbers; "" for none.

    Clusters side by side have different pod ranges, so their Service ranges differ too.
    """
    if not pod_cidr:
        return ""
    if ":" in pod_cidr:
        head, first, second, *_ = pod_cidr.split(":")
        return f"{head}:{first}:{(int(second) - 148) % 256}::/112"
    first, second, *_ = str(ipaddress.ip_network(pod_cidr).network_address).split(".")
    return f"{first}.{(int(second) - 148) % 256}.0.0/16"


def dns_door(gateway: str, pod_cidr: str) -> str:
    """ADDR:PORT at which the engine answers DNS: the pods' gateway, or without a pod network the first address of the
    pods' range (no pod gets it), where port 53 may not be bound at port + 8000 as Services are."""
    if gateway:
        return f"{settings.bracketed(gateway)}:53"
    first = ipaddress.ip_network(pod_cidr).network_address + 1
    return f"{first}:{DNS_PORT if lowest_port() <= DNS_PORT else DNS_PORT + settings.UNPRIVILEGED_SHIFT}"


def dns_sockets(door: str, gateways: Iterable[str]) -> tuple[str, ...]:
    """Where the engine answers DNS: at the door, and at the node's addresses of every family that pods have."""
    doors = dict.fromkeys((door, *(dns_door(one, "") for one in gateways)))
    return tuple(f"{kind}:{one}" for one in doors for kind in ("udp", "tcp"))


def dns_of_pods(door: str) -> str:
    """The address at which pods ask: a resolv.conf knows no other port than 53."""
    address, _, port = door.rpartition(":")
    return address.strip("[]") if int(port) == DNS_PORT else ""


def lowest_port() -> int:
    """The first port that may be bound here."""
    if privilege.is_root():
        return 1
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def pod_environment() -> dict[str, str]:
    """What every process pod inherits: where programs are found, and the language; nothing else of ours."""
    wanted = ("PATH", "LANG", "LC_ALL", "TZ")
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} | {
        name: os.environ[name] for name in wanted if name in os.environ
    }


def localhost(opener: Callable[[str], socket.socket]) -> tuple[str, ...]:
    """The machine's loopback addresses, as whoever opens the cluster's doors finds them."""
    found = []
    for address in ("127.0.0.1", "::1"):
        try:
            opener(settings.socket_id("udp", address, 0)).close()
        except OSError:
            continue
        found.append(address)
    return tuple(found)


def reachable(places: tuple[str, ...], localhost: Iterable[str]) -> tuple[str, ...]:
    """The places (ADDR:PORT) whose address family this machine has; all of them where it has none's."""
    has_ipv6 = "::1" in localhost
    return tuple(place for place in places if has_ipv6 or not place.startswith("[")) or places
