"""Every annotation that ingress-nginx documents is honoured, idle with a note, or refused with a reason."""

import pathlib
import re

import pytest

from fairlead.routing.ingress_nginx import catalogue, configmap

#: the documentation's lists (annotations.md of several releases and annotations-risk.md), without the prefix
_TEXT = """
affinity affinity-canary-behavior affinity-mode allowlist-source-range app-root auth-always-set-cookie
auth-cache-duration auth-cache-key auth-keepalive auth-keepalive-requests auth-keepalive-share-vars
auth-keepalive-timeout auth-method auth-proxy-set-headers auth-realm auth-request-redirect auth-response-headers
auth-secret auth-secret-type auth-signin auth-signin-redirect-param auth-snippet auth-tls-error-page auth-tls-match-cn
auth-tls-pass-certificate-to-upstream auth-tls-secret auth-tls-verify-client auth-tls-verify-depth auth-type auth-url
backend-protocol canary canary-by-cookie canary-by-header canary-by-header-pattern canary-by-header-value
canary-weight canary-weight-total client-body-buffer-size configuration-snippet connection-proxy-header
cors-allow-credentials cors-allow-headers cors-allow-methods cors-allow-origin cors-expose-headers cors-max-age
custom-headers custom-http-errors default-backend denylist-source-range disable-proxy-intercept-errors
enable-access-log enable-cors enable-global-auth enable-influxdb enable-modsecurity enable-opentelemetry
enable-opentracing enable-owasp-core-rules enable-rewrite-log fastcgi-index fastcgi-params-configmap
force-ssl-redirect from-to-www-redirect global-rate-limit global-rate-limit-ignored-cidrs global-rate-limit-key
global-rate-limit-window http2-push-preload influxdb-host influxdb-measurement influxdb-port influxdb-server-name
limit-allowlist limit-burst-multiplier limit-connections limit-rate limit-rate-after limit-rpm limit-rps
limit-whitelist load-balance mirror-host mirror-request-body mirror-target modsecurity-snippet
modsecurity-transaction-id opentelemetry-operation-name opentelemetry-trust-incoming-span
opentelemetry-trust-incoming-spans
opentracing-trust-incoming-span permanent-redirect permanent-redirect-code preserve-trailing-slash proxy-body-size
proxy-buffer-size proxy-buffering proxy-buffers-number proxy-connect-timeout proxy-cookie-domain proxy-cookie-path
proxy-http-version proxy-max-temp-file-size proxy-next-upstream proxy-next-upstream-timeout proxy-next-upstream-tries
proxy-read-timeout proxy-redirect-from proxy-redirect-to proxy-request-buffering proxy-send-timeout proxy-ssl-ciphers
proxy-ssl-name proxy-ssl-protocols proxy-ssl-secret proxy-ssl-server-name proxy-ssl-verify proxy-ssl-verify-depth
relative-redirects rewrite-target satisfy server-alias server-snippet service-upstream
session-cookie-change-on-failure session-cookie-conditional-samesite-none session-cookie-domain session-cookie-expires
session-cookie-max-age session-cookie-name session-cookie-partitioned session-cookie-path session-cookie-samesite
session-cookie-secure ssl-ciphers ssl-passthrough ssl-prefer-server-ciphers ssl-redirect stream-snippet
temporal-redirect temporal-redirect-code upstream-hash-by upstream-hash-by-subset upstream-hash-by-subset-size
upstream-vhost use-port-in-redirects use-regex whitelist-source-range x-forwarded-prefix
"""
DOCUMENTED = _TEXT.split()
#: those of configmap.md and config.go
_KEYS = """
add-headers allow-backend-server-header allow-snippet-annotations annotation-value-word-blocklist hide-headers
access-log-params access-log-path http-access-log-path stream-access-log-path enable-access-log-for-default-backend
error-log-path enable-modsecurity modsecurity-snippet enable-owasp-modsecurity-crs client-header-buffer-size
client-header-timeout client-body-buffer-size client-body-timeout disable-access-log disable-ipv6 disable-ipv6-dns
enable-underscores-in-headers enable-ocsp ignore-invalid-headers retry-non-idempotent error-log-level
http2-max-field-size http2-max-header-size http2-max-requests http2-max-concurrent-streams hsts hsts-include-subdomains
hsts-max-age hsts-preload keep-alive keep-alive-requests large-client-header-buffers log-format-escape-none
log-format-escape-json log-format-upstream log-format-stream enable-multi-accept max-worker-connections
max-worker-open-files map-hash-bucket-size nginx-status-ipv4-whitelist nginx-status-ipv6-whitelist proxy-real-ip-cidr
proxy-set-headers server-name-hash-max-size server-name-hash-bucket-size proxy-headers-hash-max-size
proxy-headers-hash-bucket-size plugins reuse-port server-tokens ssl-ciphers ssl-ecdh-curve ssl-dh-param ssl-protocols
ssl-session-cache ssl-session-cache-size ssl-session-tickets ssl-session-ticket-key ssl-session-timeout ssl-buffer-size
use-proxy-protocol proxy-protocol-header-timeout use-gzip use-geoip use-geoip2 geoip2-autoreload-in-minutes
enable-brotli brotli-level brotli-min-length brotli-types use-http2 gzip-level gzip-types gzip-disable gzip-min-length
worker-processes worker-cpu-affinity worker-shutdown-timeout worker-serial-reloads load-balance
variables-hash-bucket-size variables-hash-max-size upstream-keepalive-connections upstream-keepalive-time
upstream-keepalive-timeout upstream-keepalive-requests limit-conn-zone-variable proxy-stream-timeout
proxy-stream-next-upstream proxy-stream-next-upstream-timeout proxy-stream-next-upstream-tries proxy-stream-responses
bind-address use-forwarded-headers enable-real-ip forwarded-for-header compute-full-forwarded-for
proxy-add-original-uri-header generate-request-id enable-opentracing opentracing-operation-name
opentracing-location-operation-name zipkin-collector-host zipkin-collector-port zipkin-service-name zipkin-sample-rate
jaeger-collector-host jaeger-collector-port jaeger-endpoint jaeger-service-name jaeger-propagation-format
jaeger-sampler-type jaeger-sampler-param jaeger-sampler-host jaeger-sampler-port jaeger-trace-context-header-name
jaeger-debug-header jaeger-baggage-header jaeger-trace-baggage-header-prefix datadog-collector-host
datadog-collector-port datadog-service-name datadog-environment datadog-operation-name-override
datadog-priority-sampling datadog-sample-rate enable-opentelemetry opentelemetry-operation-name
opentelemetry-trust-incoming-span otlp-collector-host otlp-collector-port otel-service-name otel-sampler
otel-sampler-ratio otel-sampler-parent-based otel-max-queuesize otel-schedule-delay-millis otel-max-export-batch-size
main-snippet http-snippet server-snippet stream-snippet location-snippet custom-http-errors proxy-body-size
proxy-connect-timeout proxy-read-timeout proxy-send-timeout proxy-buffers-number proxy-buffer-size
proxy-busy-buffers-size proxy-max-temp-file-size proxy-cookie-path proxy-cookie-domain proxy-next-upstream
proxy-next-upstream-timeout proxy-next-upstream-tries proxy-redirect-from proxy-request-buffering ssl-redirect
force-ssl-redirect whitelist-source-range denylist-source-range skip-access-log-urls limit-rate limit-rate-after
lua-shared-dicts http-redirect-code proxy-buffering limit-req-status-code limit-conn-status-code enable-syslog
syslog-host syslog-port no-tls-redirect-locations global-auth-url global-auth-method global-auth-signin
global-auth-signin-redirect-param global-auth-response-headers global-auth-request-redirect global-auth-snippet
global-auth-cache-key global-auth-cache-duration global-auth-always-set-cookie no-auth-locations block-cidrs
block-user-agents block-referers proxy-ssl-location-only default-type global-rate-limit-memcached-host
global-rate-limit-memcached-port global-rate-limit-memcached-connect-timeout
global-rate-limit-memcached-max-idle-timeout global-rate-limit-memcached-pool-size global-rate-limit-status-code
service-upstream ssl-reject-handshake debug-connections strict-validate-path-type grpc-buffer-size-kb
relative-redirects annotations-risk-level global-allowed-response-headers disable-proxy-intercept-errors
enable-aio-write ssl-early-data enable-dynamic-tls-records
"""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_documented_annotation_is_in_the_table(name: str) -> None:
    entry = catalogue.ENTRIES[name]
    assert entry.treatment == "honoured" or entry.note


@pytest.mark.parametrize("name", _KEYS.split())
def test_each_documented_key_of_the_configmap_is_in_the_table(name: str) -> None:
    entry = configmap.ENTRIES[name]
    assert entry.treatment == "honoured" or entry.note


@pytest.mark.parametrize("name", sorted(catalogue.OBSOLETE))
def test_what_ingress_nginx_dropped_is_told_with_what_does_its_work_now(name: str) -> None:
    words = catalogue.parse({catalogue.PREFIX + name: "true"}, obj="Ingress/a/b")
    assert ([problem.reason for problem in words.problems], words.denied) == (["ObsoleteAnnotation"], "")


def test_a_wrong_entry_of_an_origins_list_leaves_the_others_alone() -> None:
    name = catalogue.PREFIX + "cors-allow-origin"
    for value, allowed in (("a b, https://c.example", ("https://c.example",)), ("a b", ())):
        words = catalogue.parse({name: value}, obj="Ingress/a/b")
        assert (words.get("cors-allow-origin"), [one.reason for one in words.problems]) == (allowed, ["InvalidValue"])


def test_nothing_that_carries_configuration_text_is_honoured() -> None:
    assert {name for name in catalogue.ENTRIES if "snippet" in name or "modsec" in name} == {
        name
        for name, entry in catalogue.ENTRIES.items()
        if entry.treatment == "refused" and ("snippet" in name or "modsec" in name)
    }
    assert all(entry.treatment == "refused" for name, entry in configmap.ENTRIES.items() if "snippet" in name)


def test_every_honoured_annotation_is_read_by_the_translation() -> None:
    """A name that is parsed but never asked for would be ignored in silence."""
    folder = pathlib.Path(catalogue.__file__).parent
    texts = {path.name: path.read_text() for path in folder.glob("*.py") if not path.name.endswith("catalogue.py")}
    text = "".join(texts[name] for name in texts if name != "configmap.py")
    aliases = {"whitelist-source-range", "limit-whitelist"}
    honoured = {name for name, one in (catalogue.ENTRIES | configmap.ENTRIES).items() if one.treatment == "honoured"}
    text += '"permanent-redirect-code" "temporal-redirect-code"'  # asked as NAME-code
    asked = {name for name in honoured if re.search(rf"[\"']{name.removeprefix('global-auth-')}[\"']", text)}
    short = {name for name in honoured if re.search(rf"[\"']{name.removeprefix('global-')}[\"']", text)}
    assert honoured - asked - short - aliases == set()


GOOD = {
    "proxy-body-size": ("8m", 8 * 1024**2),
    "proxy-next-upstream": ("error timeout http_502", ("connect", "reset", "timeout", "502")),
    "whitelist-source-range": ("10.0.0.1/8,::1", ("10.0.0.0/8", "::1/128")),
    "server-alias": ("B.example,*.c.example", ("b.example", "**.c.example")),
    "auth-cache-duration": ("200 401 5m", ((200, 401), 300.0)),
    "upstream-hash-by": ("$binary_remote_addr", "client"),
    "canary-weight": ("7", 7),
    "use-regex": ("TRUE", True),
    "auth-tls-match-cn": ("CN=a.*", "a.*"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (value, _) in GOOD.items()])
def test_values_that_are_read(name: str, value: str) -> None:
    words = catalogue.parse({catalogue.PREFIX + name: value}, obj="Ingress/a/b")
    assert words.problems == ()
    assert list(words.values.values()) == [GOOD[name][1]]


BAD = [
    ("proxy-body-size", "8 MB"), ("proxy-body-size", "8m;"), ("proxy-read-timeout", "60s"), ("canary-weight", "-1"),
    ("proxy-next-upstream", "error;"), ("whitelist-source-range", "10.0.0.0/33"), ("server-alias", "~^www"),
    ("server-alias", "a_b"), ("rewrite-target", "/$x"), ("rewrite-target", "/a b"), ("rewrite-target", "https://x/"),
    ("app-root", "//evil"), ("app-root", "https://evil"), ("permanent-redirect", "javascript:alert(1)"),
    ("permanent-redirect", "https://x/\r\nSet-Cookie: a"), ("permanent-redirect-code", "200"),
    ("session-cookie-name", "a;b"), ("session-cookie-domain", "x y"), ("canary-by-header", "X Y"),
    ("cors-allow-headers", "X:Y"), ("upstream-hash-by", "static"),
    ("upstream-hash-by", "$lua_x"), ("upstream-vhost", "a\nb"), ("custom-http-errors", "4o4"), ("use-regex", "yes"),
    ("x-forwarded-prefix", 'x"'), ("mirror-target", "gopher://x"), ("auth-realm", 'x"y'), ("load-balance", "ip_hash"),
    ("canary-by-header-pattern", "(?=x)"), ("affinity", "ip"), ("custom-headers", "a/b/c"), ("no-such", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_values_that_are_refused_with_a_sentence(name: str, value: str) -> None:
    words = catalogue.parse({catalogue.PREFIX + name: value}, obj="Ingress/a/b")
    assert [problem.path for problem in words.problems] == [f"metadata.annotations[{catalogue.PREFIX}{name}]"]
    assert words.values == {}


def test_values_that_ask_for_nothing_are_no_problem() -> None:
    asked = {"enable-modsecurity": "false", "proxy-redirect-from": "off", "ssl-passthrough": "false", "use-regex": ""}
    words = catalogue.parse({catalogue.PREFIX + name: value for name, value in asked.items()}, obj="Ingress/a/b")
    assert (words.values, words.problems, words.denied) == ({}, (), "")
