"""What the controller's ConfigMap says of the edge's doors: whose claims about clients are believed, what is told on.

ingress-nginx tells every Backend X-Real-IP, X-Forwarded-Port, -Scheme, X-Scheme and X-Request-ID; so do we.
"""

from __future__ import annotations

from typing import Literal

from fairlead.routing import table
from fairlead.routing.ingress_nginx import catalogue

_EVERYONE = frozenset({"0.0.0.0/0", "::/0"})


def _told(config: catalogue.Words) -> tuple[Literal["forwarded", "original-uri"], ...]:
    forwarded: tuple[Literal["forwarded"], ...] = ("forwarded",) if config.get("enable-forwarded-rfc7239") else ()
    return (*forwarded, *(("original-uri",) if config.get("proxy-add-original-uri-header") else ()))


def http(config: catalogue.Words) -> table.HttpSettings:
    """The settings of the edge's http and https Listeners."""
    trusts = config.get("use-forwarded-headers", False) or config.get("enable-real-ip", False)
    networks = tuple(config.get("proxy-real-ip-cidr", ())) if trusts else ()
    # Trust in everyone would let a client name its own address: then the nearest proxy's word counts, and no other's.
    proxies = () if _EVERYONE & set(networks) else networks
    header = config.get("forwarded-for-header", "") if trusts else ""
    identity = ("request-id",) if config.get("generate-request-id", True) else ()
    return table.HttpSettings(
        trusted_hops=1 if trusts and not proxies else 0,
        trusted_proxies=proxies,
        address_only=trusts and not config.get("use-forwarded-headers", False),
        client_header="" if header.lower() == "x-forwarded-for" else header,
        tell=("real-ip", "port", "scheme", *identity, *_told(config)),
    )
