"""The controller's ConfigMap: its keys are defaults for all Ingresses, mean nothing here, or are refused with a reason.

The same three treatments as for annotations. A wrong value is a Problem of the ConfigMap and leaves its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing.ingress_nginx import access_catalogue, backends_catalogue, catalogue, routes_catalogue, values
from fairlead.routing.ingress_nginx.entry import Entry, honoured, idle, refused

#: keys that are the defaults of the annotation with the same name
_SHARED = (
    "proxy-body-size", "proxy-connect-timeout", "proxy-read-timeout", "proxy-send-timeout", "proxy-next-upstream",
    "proxy-next-upstream-timeout", "proxy-next-upstream-tries", "ssl-redirect", "force-ssl-redirect",
    "whitelist-source-range", "denylist-source-range", "custom-http-errors", "load-balance",
    "disable-proxy-intercept-errors", "client-body-buffer-size", "proxy-buffering", "proxy-buffers-number",
    "proxy-buffer-size", "proxy-busy-buffers-size", "proxy-request-buffering", "proxy-max-temp-file-size",
    "proxy-http-version", "proxy-cookie-domain", "proxy-cookie-path", "proxy-redirect-from", "proxy-redirect-to",
    "limit-rate", "limit-rate-after", "service-upstream", "ssl-ciphers", "enable-modsecurity", "modsecurity-snippet",
    "enable-opentracing", "enable-opentelemetry", "use-port-in-redirects", "preserve-trailing-slash",
)  # fmt: skip
#: global-auth-X is the default of auth-X
_AUTH = (
    "auth-url", "auth-method", "auth-signin", "auth-signin-redirect-param", "auth-response-headers",
    "auth-request-redirect", "auth-cache-key", "auth-cache-duration", "auth-always-set-cookie", "auth-snippet",
)  # fmt: skip
_PREFIXES = values.listed(values.text)
_TRUST = "without proxy-real-ip-cidr the nearest proxy's word counts alone, so that no client names its own address"
OWN = (
    honoured("hsts", values.flag),
    honoured("hsts-max-age", values.integer(0, 10**10 - 1)),
    honoured("hsts-include-subdomains", values.flag),
    honoured("hsts-preload", values.flag),
    honoured("http-redirect-code", values.integer(300, 308)),
    honoured("limit-req-status-code", values.integer(400, 599)),
    honoured("limit-conn-status-code", values.integer(400, 599)),
    honoured("use-forwarded-headers", values.flag, _TRUST),
    honoured("enable-real-ip", values.flag, _TRUST),
    honoured("proxy-real-ip-cidr", values.listed(values.network)),
    honoured("forwarded-for-header", values.token),
    honoured("generate-request-id", values.flag),
    idle("compute-full-forwarded-for", "behind a trusted proxy X-Forwarded-For always holds the whole way"),
    honoured("proxy-set-headers", values.reference),
    honoured("add-headers", values.reference),
    honoured("hide-headers", values.listed(values.token)),
    honoured("no-tls-redirect-locations", _PREFIXES),
    honoured("no-auth-locations", _PREFIXES),
    honoured("block-cidrs", values.listed(values.network), guards=True),
    honoured("retry-non-idempotent", values.flag),
    honoured("global-allowed-response-headers", values.listed(values.token)),
    refused("allow-cross-namespace-resources", "a Secret of another namespace is never read", harmless=("false",)),
    refused("allow-snippet-annotations", routes_catalogue.SNIPPET, harmless=("false",)),
    refused("use-proxy-protocol", "is a property of the door, not of an object", harmless=("false",)),
    refused("block-user-agents", "is not carried; a header match of a Gateway route can do it", guards=True),
    refused("block-referers", "is not carried; a header match of a Gateway route can do it", guards=True),
    refused("use-gzip", "responses are not compressed; the application does it", harmless=("false",)),
    refused("enable-brotli", "responses are not compressed; the application does it", harmless=("false",)),
    refused("plugins", "there is no Lua here"),
    refused("lua-shared-dicts", "there is no Lua here"),
    refused("enable-owasp-modsecurity-crs", "there is no ModSecurity here", guards=True, harmless=("false",)),
)
_SNIPPETS = ("main-snippet", "http-snippet", "server-snippet", "location-snippet", "stream-snippet")
_DOORS = (
    "keep-alive", "keep-alive-requests", "client-header-timeout", "client-body-timeout", "client-header-buffer-size",
    "large-client-header-buffers", "use-http2", "http2-max-field-size", "http2-max-header-size", "http2-max-requests",
    "http2-max-concurrent-streams", "ssl-protocols",
    "ssl-session-cache", "ssl-session-cache-size", "ssl-session-tickets",
    "ssl-session-timeout", "ssl-buffer-size", "ssl-ecdh-curve", "ssl-dh-param", "ssl-reject-handshake", "bind-address",
    "disable-ipv6", "reuse-port", "enable-underscores-in-headers", "ignore-invalid-headers", "server-tokens",
    "enable-ocsp", "ssl-early-data", "proxy-protocol-header-timeout",
)  # fmt: skip
_PROCESS = (
    "worker-processes", "worker-cpu-affinity", "worker-shutdown-timeout", "max-worker-connections",
    "max-worker-open-files", "enable-multi-accept", "map-hash-bucket-size", "server-name-hash-max-size",
    "server-name-hash-bucket-size", "proxy-headers-hash-max-size", "proxy-headers-hash-bucket-size",
    "variables-hash-bucket-size", "variables-hash-max-size", "limit-conn-zone-variable", "upstream-keepalive-time",
    "upstream-keepalive-connections", "upstream-keepalive-timeout", "upstream-keepalive-requests", "disable-ipv6-dns",
    "strict-validate-path-type", "annotations-risk-level", "annotation-value-word-blocklist", "default-type",
    "allow-backend-server-header", "proxy-add-original-uri-header", "proxy-ssl-location-only",
    "debug-connections", "nginx-status-ipv4-whitelist", "nginx-status-ipv6-whitelist",
)  # fmt: skip
_LOGS = (
    "access-log-params", "access-log-path", "http-access-log-path", "stream-access-log-path", "error-log-path",
    "error-log-level", "enable-access-log-for-default-backend", "disable-access-log", "disable-http-access-log",
    "disable-stream-access-log", "skip-access-log-urls", "log-format-escape-none", "log-format-escape-json",
    "log-format-upstream", "log-format-stream", "enable-syslog", "syslog-host", "syslog-port",
)  # fmt: skip


def _entries() -> dict[str, Entry]:
    every = {one.name: one for one in (*OWN, *(refused(name, routes_catalogue.SNIPPET) for name in _SNIPPETS))}
    for names, note in (
        (_DOORS, "the edge's doors have limits of their own"),
        (_PROCESS, "tunes nginx itself"),
        (_LOGS, "the doors have one log: `fairlead up --access-log FILE`"),
    ):
        every.update({name: idle(name, note, differs=names is not _PROCESS) for name in names})
    shared = {one.name: one for one in (*backends_catalogue.ENTRIES, *routes_catalogue.ENTRIES)}
    access = {one.name: one for one in access_catalogue.ENTRIES}
    every.update({name: (shared | access)[name] for name in _SHARED})
    every.update({f"global-{name}": access[name] for name in _AUTH})
    return every


ENTRIES: dict[str, Entry] = _entries()


def parse(data: Mapping[str, Any], *, obj: str) -> catalogue.Words:
    """The defaults that a ConfigMap sets, under the names of the annotations."""
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    denied = ""
    for name, value in sorted(data.items()):
        path = f"data[{name}]"
        entry = ENTRIES.get(name)
        if entry is None:
            problems.append(Problem(obj, path, "UnknownKey", "is not a key that ingress-nginx documents"))
            continue
        problem = catalogue.parse_value(found, entry, value, obj=obj, path=path)
        if problem is not None:
            problems.append(problem)
            denied = denied or (f"{obj} {path}: {problem.message}" if entry.guards else "")
    return catalogue.Words(found, tuple(problems), denied)
