"""What a translation must know of the place where a local cluster's table works, as its record has it: one piece for
the cluster itself and for the commands that ask about it.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping

from fairlead.cluster import ranges, state
from fairlead.node import protocols
from fairlead.routing import addresses, settings, table

NODE_NAME = socket.gethostname().lower()


def cidrs(network: protocols.Network) -> tuple[str, str]:
    """The pods' ranges, of their first family first; "" for a second that they have not."""
    return network.cidr, network.second_cidr


def gateways(network: protocols.Network) -> tuple[str, ...]:
    """The node's addresses among pods that have a network of their own, of their first family first."""
    if network.mode == "loopback":
        return ()
    return tuple(one for one in (network.gateway, network.second_gateway) if one)


def with_pods(where: settings.Settings, record: state.Record, network: protocols.Network) -> settings.Settings:
    """With what is known where the cluster itself runs: its doors on the pods' network."""
    own = {addresses.family(one): one for one in gateways(network)}
    return dataclasses.replace(
        where,
        gateway=own.get("IPv4", ""),
        gateway6=own.get("IPv6", ""),
        dns=ranges.dns_sockets(record.dns, own.values()),
    )


def settings_of(
    record: state.Record, labels: Mapping[str, str], *, certificate: table.Certificate | None
) -> settings.Settings:
    """With the labels of its node, and the certificate of https at hosts whose Ingress brings none."""
    return settings.Settings(
        node=NODE_NAME,
        zone=labels.get(settings.ZONE, ""),
        network="loopback" if record.network == "loopback" else "kernel",
        connect_time=record.connect_time.startswith("on"),
        lowest_port=record.lowest_port,
        localhost=tuple(record.localhost),
        edge_http=tuple(f"tcp:{place}" for place in record.edge_http),
        edge_https=tuple(f"tcp:{place}" for place in record.edge_https),
        ingress_nginx=record.ingress_nginx,
        default_certificate=certificate,
    )
