"""Annotations about how a Backend is spoken to and which of its endpoints is taken (ingress-nginx' documentation)."""

from __future__ import annotations

from fairlead.routing.ingress_nginx import routes_catalogue, template, values
from fairlead.routing.ingress_nginx.entry import Entry, honoured, idle, refused

STREAMS = "bodies are streamed through a fixed pool of buffers"
_TLS = "the engine speaks TLS 1.2 and 1.3 with the modern ciphers only"
_SECONDS = values.integer(1, 604800)


def load_balance(value: str) -> str:
    """The table's algorithm; round_robin is the default, which is exact round robin among idle endpoints."""
    known = {"round_robin": "round-robin", "ewma": "ewma"}
    if value not in known:
        raise ValueError(f"{value!r} is not round_robin or ewma")
    return known[value]


_NEXT = {
    "error": ("connect", "reset"), "timeout": ("timeout",), "invalid_header": ("invalid-header",),
    "http_500": ("500",), "http_502": ("502",), "http_503": ("503",), "http_504": ("504",), "http_403": ("403",),
    "http_404": ("404",), "http_429": ("429",), "non_idempotent": ("non-idempotent",), "off": ("off",),
}  # fmt: skip


def next_upstream(value: str) -> tuple[str, ...]:
    """The table's words for when the next endpoint is tried; () is never."""
    groups = values.words(_NEXT, separators=r"\s")(value)
    found = dict.fromkeys(word for group in groups if isinstance(group, tuple) for word in group)
    return () if "off" in found else tuple(found)


BALANCING = (
    honoured("load-balance", load_balance),
    honoured("upstream-hash-by", template.hash_on),
    honoured(
        "upstream-hash-by-subset",
        values.flag,
        "each key has a subset of its own, so that a lost endpoint moves only its keys; subsets are no fixed groups",
    ),
    honoured("upstream-hash-by-subset-size", values.integer(1, 1000)),
    honoured(
        "service-upstream",
        values.flag,
        "the Service's own balancing decides for each request; connections go to endpoints, not through the ClusterIP",
    ),
    honoured("backend-protocol", routes_catalogue.backend_protocol, guards=True),
)
AFFINITY = (
    honoured("affinity", values.one_of("cookie")),
    honoured("affinity-mode", values.one_of("balanced", "persistent")),
    honoured("affinity-canary-behavior", values.one_of("sticky", "legacy")),
    honoured("session-cookie-name", values.token),
    honoured("session-cookie-path", values.absolute_path),
    honoured("session-cookie-domain", values.host),
    honoured("session-cookie-samesite", values.one_of("None", "Lax", "Strict")),
    idle(
        "session-cookie-conditional-samesite-none",
        "SameSite=None is sent to every browser; those that mistook it are gone",
        values.flag,
        differs=True,
    ),
    honoured("session-cookie-secure", values.flag),
    honoured("session-cookie-max-age", values.integer(0, 10**9)),
    honoured("session-cookie-expires", values.integer(0, 10**9), "sent as Max-Age, which browsers prefer"),
    honoured(
        "session-cookie-change-on-failure",
        values.flag,
        "with false a session whose endpoint fails is answered by others meanwhile, and returns to it",
    ),
    honoured("session-cookie-partitioned", values.flag),
)
TIMES = (
    honoured("proxy-connect-timeout", _SECONDS),
    honoured("proxy-read-timeout", _SECONDS),
    honoured("proxy-send-timeout", _SECONDS, "one idle time counts for both directions: the longer of read and send"),
    honoured("proxy-next-upstream", next_upstream),
    honoured("proxy-next-upstream-timeout", values.integer(0, 10**7)),
    honoured("proxy-next-upstream-tries", values.integer(0, 10**6), "0, no limit, and more than 100 are 100"),
)
BODIES = (
    honoured("proxy-body-size", values.size),
    idle("client-body-buffer-size", STREAMS, values.size),
    idle("proxy-buffering", STREAMS, values.on_off),
    idle("proxy-buffers-number", STREAMS, values.integer(1, 10**6)),
    idle("proxy-buffer-size", STREAMS, values.size),
    idle("proxy-busy-buffers-size", STREAMS, values.size),
    idle("proxy-max-temp-file-size", STREAMS, values.size),
    idle("proxy-request-buffering", STREAMS, values.on_off),
    idle("proxy-http-version", "HTTP/1.1 is spoken to the endpoints", values.one_of("1.1")),
    refused("proxy-cookie-domain", "cookies of the application are not rewritten", harmless=("off",)),
    refused("proxy-cookie-path", "cookies of the application are not rewritten", harmless=("off",)),
    refused("proxy-redirect-from", "Location headers are not rewritten", harmless=("off", "default")),
    idle("proxy-redirect-to", "means nothing without proxy-redirect-from"),
    refused("limit-rate", "the speed of one response is not limited", harmless=("0",)),
    refused("limit-rate-after", "the speed of one response is not limited", harmless=("0",)),
)
TLS = (
    honoured("proxy-ssl-secret", values.reference, guards=True),
    honoured("proxy-ssl-name", values.host),
    honoured("proxy-ssl-verify", values.on_off),
    idle("proxy-ssl-verify-depth", "a chain is followed to a trusted authority, however long", values.integer(0, 100)),
    idle("proxy-ssl-server-name", "the server name is always sent", values.on_off),
    idle("proxy-ssl-ciphers", _TLS, differs=True),
    idle("proxy-ssl-protocols", _TLS, differs=True),
    idle("ssl-ciphers", _TLS, differs=True),
    idle("ssl-prefer-server-ciphers", _TLS),
)
ENTRIES: tuple[Entry, ...] = BALANCING + AFFINITY + TIMES + BODIES + TLS
