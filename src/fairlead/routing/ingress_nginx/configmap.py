"""The controller's ConfigMap: its keys are defaults for all Ingresses, mean nothing here, or are refused with a reason.

The same three treatments as for annotations. A wrong value is a Problem of the ConfigMap and leaves its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing.ingress_nginx import (
    access_catalogue,
    backends_catalogue,
    catalogue,
    pattern,
    routes_catalogue,
    values,
)
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
    "relative-redirects",
)  # fmt: skip
#: global-auth-X is the default of auth-X
_AUTH = (
    "auth-url", "auth-method", "auth-signin", "auth-signin-redirect-param", "auth-response-headers",
    "auth-request-redirect", "auth-cache-key", "auth-cache-duration", "auth-always-set-cookie", "auth-snippet",
)  # fmt: skip
_PREFIXES = values.listed(values.text)
_TRUST = "without proxy-real-ip-cidr the nearest proxy's word counts alone, so that no client names its own address"
_PLACES = "no database of places is read"
_NO_TEXT = "each annotation has a parser of its own, and none becomes configuration text"
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
    idle("enable-real-ip-recursive", "of several addresses the nearest that is no trusted proxy counts, in any case"),
    honoured("enable-forwarded-rfc7239", values.flag),
    honoured("proxy-add-original-uri-header", values.flag),
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
    Entry("block-user-agents", "honoured", "", values.listed(pattern.blocked), guards=True),
    Entry("block-referers", "honoured", "", values.listed(pattern.blocked), guards=True),
    refused("use-gzip", "responses are not compressed; the application does it", harmless=("false",)),
    refused("enable-brotli", "responses are not compressed; the application does it", harmless=("false",)),
    refused("use-geoip", _PLACES, harmless=("false",)),
    refused("use-geoip2", _PLACES, harmless=("false",)),
    refused("use-http3", "HTTP/3 is not spoken", harmless=("false",)),
    idle("allow-backend-server-header", "the Service's own Server field passes; hide-headers takes it out"),
    idle("server-tokens", "the edge has no Server field of its own"),
    idle("enable-underscores-in-headers", "field names with underscores pass", differs=True),
    idle(
        "ignore-invalid-headers",
        "field names with underscores pass, others that HTTP does not allow are a 400",
        differs=True,
    ),
    idle("strict-validate-path-type", _NO_TEXT),
    idle("annotations-risk-level", _NO_TEXT),
    idle("annotation-value-word-blocklist", _NO_TEXT),
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
    "disable-ipv6", "reuse-port",
    "enable-ocsp", "ssl-early-data", "proxy-protocol-header-timeout", "ssl-session-ticket-key",
    "enable-dynamic-tls-records",
)  # fmt: skip
_PROCESS = (
    "worker-processes", "worker-cpu-affinity", "worker-shutdown-timeout", "max-worker-connections",
    "max-worker-open-files", "enable-multi-accept", "map-hash-bucket-size", "server-name-hash-max-size",
    "server-name-hash-bucket-size", "proxy-headers-hash-max-size", "proxy-headers-hash-bucket-size",
    "variables-hash-bucket-size", "variables-hash-max-size", "limit-conn-zone-variable", "upstream-keepalive-time",
    "upstream-keepalive-connections", "upstream-keepalive-timeout", "upstream-keepalive-requests", "disable-ipv6-dns",
    "default-type",
    "proxy-ssl-location-only",
    "debug-connections", "enable-aio-write", "grpc-buffer-size-kb", "worker-serial-reloads",
    "geoip2-autoreload-in-minutes", "nginx-status-ipv4-whitelist", "nginx-status-ipv6-whitelist",
)  # fmt: skip
_TRACES = (
    "opentracing-operation-name", "opentracing-location-operation-name", "opentracing-trust-incoming-span",
    "opentelemetry-operation-name", "opentelemetry-trust-incoming-span", "opentelemetry-config", "otlp-collector-host",
    "otlp-collector-port", "otel-service-name", "otel-sampler", "otel-sampler-ratio", "otel-sampler-parent-based",
    "otel-max-queuesize", "otel-schedule-delay-millis", "otel-max-export-batch-size", "zipkin-collector-host",
    "zipkin-collector-port", "zipkin-service-name", "zipkin-sample-rate", "jaeger-collector-host",
    "jaeger-collector-port", "jaeger-endpoint", "jaeger-service-name", "jaeger-propagation-format",
    "jaeger-sampler-type", "jaeger-sampler-param", "jaeger-sampler-host", "jaeger-sampler-port",
    "jaeger-trace-context-header-name", "jaeger-debug-header", "jaeger-baggage-header",
    "jaeger-trace-baggage-header-prefix", "datadog-collector-host", "datadog-collector-port", "datadog-service-name",
    "datadog-environment", "datadog-operation-name-override", "datadog-priority-sampling", "datadog-sample-rate",
)  # fmt: skip
_SHRINKING = (
    "gzip-level", "gzip-min-length", "gzip-types", "gzip-disable", "brotli-level", "brotli-min-length", "brotli-types",
)  # fmt: skip
_STREAMS = (
    "proxy-stream-timeout", "proxy-stream-next-upstream", "proxy-stream-next-upstream-timeout",
    "proxy-stream-next-upstream-tries", "proxy-stream-responses",
)  # fmt: skip
_COUNTERS = (
    "global-rate-limit-memcached-host", "global-rate-limit-memcached-port", "global-rate-limit-status-code",
    "global-rate-limit-memcached-connect-timeout", "global-rate-limit-memcached-max-idle-timeout",
    "global-rate-limit-memcached-pool-size",
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
        (_TRACES, "no spans are made; trace headers pass through"),
        (_SHRINKING, "means nothing without use-gzip or enable-brotli"),
        (_STREAMS, "TCP and UDP go through Services, and routes of a Gateway"),
        (_COUNTERS, "means nothing without global-rate-limit"),
    ):
        every.update({name: idle(name, note, differs=names in (_DOORS, _LOGS)) for name in names})
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
