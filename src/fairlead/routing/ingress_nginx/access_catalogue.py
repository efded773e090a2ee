"""Annotations that decide who may come in and how often (ingress-nginx' documentation).

All of these guard: where one is wrong or refused, its paths answer 503.
"""

from __future__ import annotations

import re

from fairlead.routing.ingress_nginx import pattern, routes_catalogue, template, url, values
from fairlead.routing.ingress_nginx.entry import Entry, honoured, idle, refused

_KEPT = "connections to the authentication service are kept as to any Backend"
_NETWORKS = values.listed(values.network)


def certificate_name(value: str) -> str:
    """A pattern for the client certificate's common name, with or without its CN=."""
    return pattern.check(re.sub(r"^\^?CN=", "", value))


def auth_type(value: str) -> str:
    """`basic`."""
    if value == "digest":
        raise ValueError("digest authentication is not carried; use basic over TLS")
    return values.one_of("basic")(value)


def realm(value: str) -> str:
    """A realm that stands within quotes."""
    if re.search(r"[\"\\\\]", value):
        raise ValueError(f"{value!r} contains a quote or backslash")
    return values.text(value)


def cache_duration(value: str) -> tuple[tuple[int, ...], float]:
    """Statuses and seconds, from `200 202 10m, 401 5m`; the shortest time counts for all of them."""
    lists = [part.split() for part in value.split(",") if part.strip()]
    if not lists:
        raise ValueError(f"{value!r} is no list of statuses and a time, such as 200 202 10m")
    codes = dict.fromkeys(values.status(code) for one in lists for code in one[:-1])
    return tuple(codes) or (200, 202, 401), min(values.seconds(one[-1]) for one in lists)


def _guard(name: str, parse: object, note: str = "") -> Entry:
    return Entry(name, "honoured", note, parse, guards=True, differs=bool(note))  # type: ignore[arg-type]


NETWORKS = (
    _guard("whitelist-source-range", _NETWORKS),
    _guard("allowlist-source-range", _NETWORKS),
    _guard("denylist-source-range", _NETWORKS),
    _guard("satisfy", values.one_of("any", "all")),
)
BASIC = (
    _guard("auth-type", auth_type),
    _guard("auth-secret", values.reference),
    _guard("auth-secret-type", values.one_of("auth-file", "auth-map")),
    honoured("auth-realm", realm),
)
EXTERNAL = (
    _guard("auth-url", url.parse),
    _guard("auth-method", values.token),
    honoured("auth-signin", template.location),
    honoured("auth-signin-redirect-param", values.token),
    honoured("auth-response-headers", values.listed(values.token)),
    _guard("auth-proxy-set-headers", values.reference),
    honoured("auth-request-redirect", template.location),
    honoured("auth-always-set-cookie", values.flag),
    honoured("auth-cache-key", template.parse),
    honoured("auth-cache-duration", cache_duration),
    idle("auth-keepalive", _KEPT),
    idle("auth-keepalive-requests", _KEPT),
    idle("auth-keepalive-timeout", _KEPT),
    idle("auth-keepalive-share-vars", _KEPT),
    refused("auth-snippet", routes_catalogue.SNIPPET, guards=True),
    _guard("enable-global-auth", values.flag),
)
CERTIFICATES = (
    _guard(
        "auth-tls-secret",
        values.reference,
        "over plain http its paths are closed (400), and a connection made for another name is sent away (421)",
    ),
    _guard("auth-tls-verify-client", values.one_of("on", "off", "optional", "optional_no_ca")),
    _guard("auth-tls-verify-depth", values.integer(0, 100)),
    _guard("auth-tls-match-cn", certificate_name),
    honoured("auth-tls-error-page", template.location),
    honoured("auth-tls-pass-certificate-to-upstream", values.flag),
)
LIMITS = (
    _guard("limit-connections", values.integer(0, 10**7)),
    _guard("limit-rps", values.integer(0, 10**7)),
    _guard("limit-rpm", values.integer(0, 10**9)),
    _guard("limit-burst-multiplier", values.integer(1, 10**4)),
    _guard("limit-whitelist", _NETWORKS),
    _guard("limit-allowlist", _NETWORKS),
)
_GLOBAL = "counters shared through memcached are not carried; limit-rps counts in this engine"
GLOBAL = (
    refused("global-rate-limit", _GLOBAL, guards=True, harmless=("0",)),
    idle("global-rate-limit-window", "means nothing without global-rate-limit"),
    idle("global-rate-limit-key", "means nothing without global-rate-limit"),
    idle("global-rate-limit-ignored-cidrs", "means nothing without global-rate-limit"),
)
ENTRIES: tuple[Entry, ...] = NETWORKS + BASIC + EXTERNAL + CERTIFICATES + LIMITS + GLOBAL
