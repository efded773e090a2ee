"""What a location's words say of a request on its way: the fields of its Routes, apart from match and Backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.routing import table
from fairlead.routing.ingress_nginx import objects, sites

Get = Callable[..., Any]
_MEBIBYTE = 1024 * 1024
_TRIES = 100
_CORS_METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
_CORS_HEADERS = (
    "DNT", "Keep-Alive", "User-Agent", "X-Requested-With", "If-Modified-Since", "Cache-Control", "Content-Type",
    "Range", "Authorization",
)  # fmt: skip


def rewrite(location: sites.Location, get: Get, *, host: str) -> table.Rewrite | None:
    """rewrite-target and upstream-vhost."""
    words = location.source.words
    if sites.rewrites(location):
        return table.Rewrite(host=host, regex=f"(?i){location.path}", substitution=words.get("rewrite-target"))
    return table.Rewrite(host=host) if host else None


def target(found: table.Template, get: Get) -> table.Template:
    """A redirect's target; nginx writes out the scheme and host of a mere path, unless relative-redirects."""
    kind, text = found[0]
    if get("relative-redirects", False) or (kind == "text" and not text.startswith("/")) or text == "scheme":
        return found
    return (("variable", "scheme"), ("text", "://"), ("variable", "host"), *found)


def slashed(path: str, get: Get) -> table.Redirect:
    """nginx' redirect to the path with a slash."""
    if not get("relative-redirects", False):
        return table.Redirect(path=path, status=301)
    return table.Redirect(location=(("text", path), ("variable", "question"), ("variable", "query")), status=301)


def timeouts(get: Get) -> table.Timeouts:
    """proxy-*-timeout; nginx' read and send timeouts are both idle times."""
    idle = max(get("proxy-read-timeout", 60), get("proxy-send-timeout", 60))
    return table.Timeouts(connect_seconds=float(get("proxy-connect-timeout", 5)), idle_seconds=float(idle))


def retry(get: Get) -> table.Retry:
    """proxy-next-upstream*."""
    on = get("proxy-next-upstream", ("connect", "reset", "timeout"))
    if on and get("retry-non-idempotent") and "non-idempotent" not in on:
        on = (*on, "non-idempotent")
    tries = min(get("proxy-next-upstream-tries", 3) or _TRIES, _TRIES)  # nginx: 0 is no limit
    return table.Retry(
        attempts=tries if on else 1,
        on=on,
        budget_percent=100.0,
        timeout_seconds=float(get("proxy-next-upstream-timeout", 0)),
    )


def cors(get: Get) -> table.Cors | None:
    """enable-cors and cors-*."""
    if not get("enable-cors"):
        return None
    return table.Cors(
        allow_origins=tuple(get("cors-allow-origin", ("*",))),
        one_label=True,
        allow_methods=tuple(get("cors-allow-methods", ())) or _CORS_METHODS,
        allow_headers=tuple(get("cors-allow-headers", ())) or _CORS_HEADERS,
        expose_headers=tuple(get("cors-expose-headers", ())),
        allow_credentials=get("cors-allow-credentials", True),
        max_age_seconds=get("cors-max-age", 1728000),
    )


def body_limit(get: Get) -> int:
    """proxy-body-size in bytes; 0 is no limit."""
    return int(get("proxy-body-size", _MEBIBYTE))


def strict_transport(get: Get) -> tuple[tuple[str, str], ...]:
    """The Strict-Transport-Security header, which ingress-nginx sends on TLS unless told not to."""
    if not get("hsts", True):
        return ()
    words = [f"max-age={get('hsts-max-age', 31536000)}"]
    words += ["includeSubDomains"] if get("hsts-include-subdomains", True) else []
    words += ["preload"] if get("hsts-preload", False) else []
    return (("Strict-Transport-Security", "; ".join(words)),)


def headers(data: objects.Object, parse: Callable[[str], str], name: Callable[[str], str]) -> dict[str, str]:
    """A ConfigMap's headers. Raises ValueError for one that HTTP does not allow."""
    return {name(key): parse(str(value)) for key, value in sorted(objects.config_data(data).items())}
