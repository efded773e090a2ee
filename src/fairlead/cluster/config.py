"""How a local cluster is asked to be: decided once, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EDGE_HTTP = ("127.0.0.1:8080", "[::1]:8080")
EDGE_HTTPS = ("127.0.0.1:8443", "[::1]:8443")
IP_FAMILIES = {
    "auto": ("IPv4", "IPv6"),
    "ipv4": ("IPv4",),
    "ipv6": ("IPv6",),
    "dual": ("IPv4", "IPv6"),
    "ipv4,ipv6": ("IPv4", "IPv6"),
    "ipv6,ipv4": ("IPv6", "IPv4"),
}  # the first is the default


class AddressError(ValueError):
    """An ADDR:PORT that cannot be one; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """`network` is auto or a mode; `ip_family` one of IP_FAMILIES; `connect_time` is auto, on or off; `runtime` auto,
    process, podman, docker or a socket; edge addresses are ADDR:PORT; `ephemeral` forgets the state at the end."""

    name: str = "default"
    network: str = "auto"
    ip_family: str = "auto"
    connect_time: str = "auto"
    runtime: str = "auto"
    http: tuple[str, ...] = EDGE_HTTP
    https: tuple[str, ...] = EDGE_HTTPS
    ingress_nginx: bool = False
    api_address: str = "127.0.0.1"
    api_port: int = 0
    hpa_period_seconds: float = 0.0  # 0: see `hpa_every_seconds`
    hpa_window_seconds: float = 5.0
    ephemeral: bool = False
    access_log: str = ""  # a file's path, or - for standard output
    access_log_share: float = 1.0
    access_log_query: bool = False
    node_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def hpa_every_seconds(self) -> float:
        """How often autoscalers look and measurements are made: a second; ten times a window below the usual five."""
        return self.hpa_period_seconds or (1.0 if self.hpa_window_seconds >= 5 else self.hpa_window_seconds / 10)


def door(text: str) -> tuple[str, ...]:
    """The addresses of one value: `:80` is every address, `8080` both loopback ones. Raises AddressError."""
    address, colon, port = text.rpartition(":")
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise AddressError(f"{text!r}: ADDR:PORT is expected, with a port from 1 to 65535")
    if not colon:
        return (f"127.0.0.1:{port}", f"[::1]:{port}")
    if not address:
        return (f"0.0.0.0:{port}", f"[::]:{port}")
    if ":" in address and not address.startswith("["):
        raise AddressError(f"{text!r}: write an IPv6 address in brackets: [{address}]:{port}")
    return (("127.0.0.1" if address == "localhost" else address) + f":{port}",)


def doors(given: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
    """All addresses of an option that may be repeated. Raises AddressError."""
    return tuple(place for text in given for place in door(text)) or default
