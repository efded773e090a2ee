"""Annotations that choose a route, change a request on its way, or answer it (ingress-nginx' own documentation)."""

from __future__ import annotations

import re

from fairlead.routing.ingress_nginx import pattern, template, url, values
from fairlead.routing.ingress_nginx.entry import Entry, honoured, idle, refused

SNIPPET = (
    "text from an annotation never becomes configuration here; express it with the other annotations, or remove it"
)
_CODES = values.integer(300, 308)
_PROTOCOLS = {"HTTP": "http", "AUTO_HTTP": "http", "HTTPS": "https", "GRPC": "h2c", "GRPCS": "h2"}


def rewrite_target(value: str) -> str:
    """The new path, in which $1 to $9 are groups of the path's regular expression."""
    values.header_text(value)
    if re.match(r"https?://|\$scheme", value):
        raise ValueError("a rewrite to a whole URL is a redirect; use temporal-redirect")
    if not value.startswith(("/", "$")) or re.search(r"[\s\"\\<>;{}]", value):
        raise ValueError(f"{value!r} is not a path such as /$2")
    for name in re.findall(r"\$([A-Za-z_]\w*|[^1-9]|$)", value):
        raise ValueError(f"${name} in a rewrite is not carried; only $1 to $9 are")
    return value


def backend_protocol(value: str) -> str:
    """The table's word for how to speak to the Backend."""
    if value.upper() in ("AJP", "FCGI"):
        raise ValueError(f"{value} is not carried; use HTTP, HTTPS, GRPC or GRPCS")
    if value.upper() not in _PROTOCOLS:
        raise ValueError(f"{value!r} is not one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[value.upper()]


def origin(value: str) -> str:
    """`*` or scheme://host[:port], whose first label may be *."""
    if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?", value):
        raise ValueError(f"{value!r} is not * or an origin such as https://*.example.com:8443")
    return value


REDIRECTS = (
    honoured("app-root", values.absolute_path),
    honoured("ssl-redirect", values.flag),
    honoured("force-ssl-redirect", values.flag),
    idle("preserve-trailing-slash", "a redirect keeps the path as it was sent, with its last slash", values.flag),
    honoured("permanent-redirect", template.location),
    honoured("permanent-redirect-code", _CODES),
    honoured("temporal-redirect", template.location),
    honoured("temporal-redirect-code", _CODES),
    honoured("from-to-www-redirect", values.flag),
    idle("use-port-in-redirects", "a port that is not the scheme's own is always in a redirect", values.flag),
    honoured("relative-redirects", values.flag),
)
PATHS = (
    honoured("rewrite-target", rewrite_target),
    honoured("use-regex", values.flag),
    honoured("server-alias", values.listed(values.alias)),
    refused("ssl-passthrough", "TLS is ended at the edge; give the Ingress a Secret in spec.tls", harmless=("false",)),
)
CANARY = (
    honoured("canary", values.flag),
    honoured("canary-by-header", values.token),
    honoured("canary-by-header-value", values.text),
    honoured("canary-by-header-pattern", pattern.check),
    honoured("canary-by-cookie", values.token),
    honoured("canary-weight", values.integer(0, 1_000_000)),
    honoured("canary-weight-total", values.integer(1, 1_000_000)),
)
HEADERS = (
    honoured("x-forwarded-prefix", values.absolute_path),
    honoured("upstream-vhost", values.text),
    honoured("custom-headers", values.reference),
    idle("connection-proxy-header", "Connection is a header of one hop and is set for each"),
    honoured("enable-cors", values.flag),
    honoured("cors-allow-origin", values.each(origin)),
    honoured("cors-allow-methods", values.listed(values.token)),
    honoured("cors-allow-headers", values.listed(values.token)),
    honoured("cors-expose-headers", values.listed(values.token)),
    honoured("cors-allow-credentials", values.flag),
    honoured("cors-max-age", values.integer(0, 10**9)),
)
ANSWERS = (
    honoured("custom-http-errors", values.listed(values.status), "only with default-backend; a page has at most 1 MiB"),
    honoured("default-backend", values.object_name),
    honoured("disable-proxy-intercept-errors", values.flag),
    honoured("mirror-target", url.parse),
    honoured("mirror-request-body", values.on_off),
    honoured("mirror-host", values.host),
)
OTHERS = (
    refused("configuration-snippet", SNIPPET, guards=True),
    refused("server-snippet", f"{SNIPPET}; other Ingresses of the host were under it, too, and stay open", guards=True),
    refused("stream-snippet", SNIPPET),
    refused("enable-modsecurity", "there is no ModSecurity here", guards=True, harmless=("false",)),
    refused("enable-owasp-core-rules", "there is no ModSecurity here", guards=True, harmless=("false",)),
    refused("modsecurity-snippet", SNIPPET, guards=True),
    refused("modsecurity-transaction-id", "there is no ModSecurity here"),
    refused("enable-influxdb", "statistics are scraped from the engine (Prometheus)", harmless=("false",)),
    idle("influxdb-measurement", "means nothing without enable-influxdb"),
    idle("influxdb-port", "means nothing without enable-influxdb"),
    idle("influxdb-host", "means nothing without enable-influxdb"),
    idle("influxdb-server-name", "means nothing without enable-influxdb"),
    refused("enable-opentracing", "no spans are made; trace headers pass through", harmless=("false",)),
    idle("opentracing-trust-incoming-span", "no spans are made; trace headers pass through"),
    refused("enable-opentelemetry", "no spans are made; trace headers pass through", harmless=("false",)),
    idle("opentelemetry-trust-incoming-span", "no spans are made; trace headers pass through"),
    idle("opentelemetry-trust-incoming-spans", "no spans are made; trace headers pass through"),  # as an example has it
    idle("opentelemetry-operation-name", "no spans are made; trace headers pass through"),
    idle("enable-access-log", "the doors have one log: `fairlead up --access-log FILE`", values.flag, differs=True),
    idle("enable-rewrite-log", "the engine writes no rewrite log; `fairlead explain` tells", values.flag),
    idle("http2-push-preload", "browsers no longer take HTTP/2 pushes", values.flag),
    refused("fastcgi-index", "FastCGI is not carried; put an HTTP server before the application"),
    refused("fastcgi-params-configmap", "FastCGI is not carried; put an HTTP server before the application"),
)
ENTRIES: tuple[Entry, ...] = REDIRECTS + PATHS + CANARY + HEADERS + ANSWERS + OTHERS
