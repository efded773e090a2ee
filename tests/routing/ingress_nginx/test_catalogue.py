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


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_documented_annotation_is_in_the_table(name: str) -> None:
    entry = catalogue.ENTRIES[name]
    assert entry.treatment == "honoured" or entry.note


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
    ("cors-allow-origin", "https://a b"), ("cors-allow-headers", "X:Y"), ("upstream-hash-by", "static"),
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
