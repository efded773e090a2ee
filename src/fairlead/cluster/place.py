"""What a translation must know of the place where a local cluster's table works, as its record has it: one piece for
the cluster itself and for the commands that ask about it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from fairlead.cluster import state
from fairlead.routing import settings, table

NODE_NAME = socket.gethostname().lower()


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
