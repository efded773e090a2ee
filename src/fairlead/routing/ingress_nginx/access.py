"""Who may come in: auth-*, auth-tls-*, source ranges and limits of one Ingress, as Access and RateLimits of the table.

Whatever is wrong here closes the path: ValueError, with the reason. Secrets are read by `objects` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fairlead.routing import carried, table
from fairlead.routing.ingress_nginx import objects, url

Get = Callable[..., Any]
_REDIRECT: table.Template = (("variable", "scheme"), ("text", "://"), ("variable", "host"), ("variable", "escaped-uri"))


def limits(get: Get, *, key: str) -> tuple[table.RateLimit, ...]:
    """limit-connections, -rpm and -rps; all paths of an Ingress count together, by client address."""
    exempt = tuple(get("limit-allowlist", ()))
    burst = get("limit-burst-multiplier", 5)
    found = []
    if connections := get("limit-connections", 0):
        status = get("limit-conn-status-code", 503)
        found.append(table.RateLimit(connections=connections, scope=f"{key}/connections", exempt=exempt, status=status))
    for name, per_second in (("limit-rpm", 1 / 60), ("limit-rps", 1.0)):
        if number := get(name, 0):
            found.append(
                table.RateLimit(
                    requests_per_second=number * per_second,
                    burst=number * burst + 1,  # nginx lets the burst pass beside the one that is due
                    scope=f"{key}/{name}",
                    exempt=exempt,
                    status=get("limit-req-status-code", 503),
                )
            )
    return tuple(found)


def basic(get: Get, *, namespace: str, secrets: objects.Lookup, tell: Callable[[str], None]) -> table.BasicAuth | None:
    """auth-type basic with its auth-secret."""
    if not get("auth-type"):
        return None
    if not get("auth-secret"):
        raise ValueError("auth-type needs auth-secret")
    secret = secrets.get(get("auth-secret"), namespace=namespace)
    if get("auth-secret-type", "auth-file") == "auth-map":
        pairs = [(name, objects.secret_text(secret, name).strip()) for name in objects.secret_names(secret)]
    else:
        lines = objects.secret_text(secret, "auth").splitlines()
        pairs = [tuple(line.strip().split(":", 1)) for line in lines if ":" in line and not line.startswith("#")]  # type: ignore[misc]
    stored = [(name, word.split(":")[0]) for name, word in pairs]
    users = tuple((name, word) for name, word in stored if carried.password(word))
    if len(users) < len(stored):
        strange = ", ".join(name for name, word in stored if not carried.password(word))
        tell(
            f"the passwords of {strange} open nothing: none of the forms {', '.join(carried.PASSWORDS)}, or "
            f"one takes seconds (bcrypt over cost {carried.MAX_COST}, over {carried.MAX_ROUNDS} rounds of SHA-crypt)"
        )
    if not users:
        name = "/".join((namespace, get("auth-secret")[1]))
        raise ValueError(f"Secret {name} has no user whose password is in a form that is carried (htpasswd -B)")
    return table.BasicAuth(realm=get("auth-realm", ""), users=users)


def request(get: Get, *, backend: Callable[[url.Url], str], headers: table.HeaderChanges | None) -> Any:
    """auth-url and what belongs to it. `backend` finds the Backend of a URL."""
    target: url.Url | None = get("auth-url")
    if target is None:
        return None
    statuses, cached = get("auth-cache-duration", ((200, 202, 401), 300.0))
    key = get("auth-cache-key", ())
    return table.AuthRequest(
        backend="" if target.self_host else backend(target),
        host=target.host,
        uri=target.uri or (("text", "/"),),
        method=get("auth-method", "GET"),
        request_headers=headers,
        response_headers=tuple(get("auth-response-headers", ())),
        redirect=get("auth-request-redirect", ()),
        signin=_signin(get("auth-signin", ()), get("auth-signin-redirect-param", "rd")),
        always_set_cookie=get("auth-always-set-cookie", False),
        cache_key=key,
        cache_seconds=cached if key else 0.0,
        cache_statuses=statuses if key else (),
    )


def _signin(page: table.Template, parameter: str) -> table.Template:
    """The sign-in page with the way back as its last parameter, unless it is already there."""
    if not page:
        return ()
    text = "".join(part for kind, part in page if kind == "text")
    if re.search(rf"[?&]{re.escape(parameter)}=", text):
        return page
    return (*page, ("text", f"{'&' if '?' in text else '?'}{parameter}="), *_REDIRECT)


def certificate(get: Get, *, namespace: str, secrets: objects.Lookup) -> table.ClientCertificate | None:
    """auth-tls-*: what a client must show."""
    mode = get("auth-tls-verify-client", "on")
    if not get("auth-tls-secret") or mode == "off":
        return None
    authority = objects.secret_text(secrets.get(get("auth-tls-secret"), namespace=namespace), "ca.crt")
    if "BEGIN CERTIFICATE" not in authority:
        raise ValueError(f"Secret {namespace}/{get('auth-tls-secret')[1]} holds no PEM certificates in ca.crt")
    modes: dict[str, Any] = {"on": "required", "optional": "optional", "optional_no_ca": "optional-no-ca"}
    return table.ClientCertificate(
        ca_pem=authority,
        mode=modes[mode],
        depth=get("auth-tls-verify-depth", 1),
        match_cn=get("auth-tls-match-cn", ""),
        error_page=get("auth-tls-error-page", ()),
        forward=get("auth-tls-pass-certificate-to-upstream", False),
    )
