"""What a Route does with a request, in plain Python: the reference for redirects, rewrites, headers and closed doors.

`interpret` says which Route; this says what then happens: an answer (404, a redirect, 403, 503), or a forward with its
Backends, path, host and the header fields that are touched on the way there and back. What needs a password, another
server or a count is not decided here; `asks` names it. `page` shows its own answer in the place of this one.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.routing import fields, interpret, paths, table


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a client sends it. `uri` is path and query; header names in lower case."""

    host: str
    uri: str = "/"
    scheme: str = "http"
    method: str = "GET"
    client: str = "192.0.2.1"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def raw_path(self) -> str:
        return self.uri.partition("?")[0]

    @property
    def path(self) -> str:
        """In its normal form; "" is a 400."""
        return paths.normal(self.raw_path) or ""

    @property
    def query(self) -> str:
        return self.uri.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` 0 is a forward to one of `backends` (id and weight) with `uri` and `host`.

    `sends` are the fields that the Backend gets otherwise than the client sent them, `gives` those that the answer has
    whatever the Backend said; no value: the field is taken out. `page` is the Backend that replaces an answer of our
    own; `pages` replaces the Backend's answers with its statuses.
    """

    status: int = 0
    location: str = ""
    backends: tuple[tuple[str, int], ...] = ()
    uri: str = ""
    host: str = ""
    asks: tuple[str, ...] = ()
    route: table.Route | None = None
    sends: fields.Fields = field(default_factory=dict)
    gives: fields.Fields = field(default_factory=dict)
    page: str = ""
    pages: table.ErrorPages | None = None


def of(structure: table.Structure, listener: str, request: Request) -> Outcome:
    """What happens to the request at the Listener."""
    if not request.path:
        return Outcome(status=400)
    asked = interpret.HttpRequest(
        host=request.host,
        path=request.path,
        method=request.method,
        headers=request.headers,
        query=dict(urllib.parse.parse_qsl(request.query, keep_blank_values=True)),
    )
    route = interpret.http(structure, listener, asked)
    if route is None:
        return Outcome(status=404)
    if not _may_enter(route.access, request.client):
        return _own(route, 403)
    said = fields.cors(route.cors, request.method, request.headers) if route.cors else {}
    if route.cors and fields.preflight(request.method, request.headers):
        return _own(route, 204, gives=said)
    if route.redirect is not None:
        location = _location(route, route.redirect, request)
        return _own(route, route.redirect.status, location=location, gives=said)
    if route.respond is not None:
        return _own(route, route.respond.status, gives=said)
    return _forward(structure, route, request, said)


def _own(route: table.Route, status: int, *, location: str = "", gives: fields.Fields | None = None) -> Outcome:
    """An answer without a Backend, unless one has a page for it."""
    page = route.errors.backend if route.errors and status in route.errors.statuses else ""
    return Outcome(status=status, location=location, route=route, gives=gives or {}, page=page)


def _forward(structure: table.Structure, route: table.Route, request: Request, said: fields.Fields) -> Outcome:
    uri, host = _rewritten(route, request)
    only = structure.backends.get(route.backends[0].backend) if len(route.backends) == 1 else None
    sent = {name: (value,) for name, value in request.headers.items()}
    return Outcome(
        backends=tuple((one.backend, one.weight) for one in route.backends),
        uri=uri,
        host=host,
        asks=_asks(route, request.client),
        route=route,
        sends=fields.changed(sent, (route.request_headers, only.request_headers if only else None)),
        gives={**fields.changed({}, (route.response_headers, only.response_headers if only else None)), **said},
        pages=route.errors,
    )


def expand(template: table.Template, request: Request) -> str:
    """The Template's text for this request."""
    return "".join(text if kind == "text" else _variable(text, request) for kind, text in template)


def _variable(name: str, request: Request) -> str:
    kind, _, key = name.partition(":")
    named = {
        "header": lambda: request.headers.get(key.lower(), ""),
        "cookie": lambda: _cookies(request).get(key, ""),
        "query": lambda: dict(urllib.parse.parse_qsl(request.query)).get(key, ""),
    }
    if key:
        return named[kind]()
    fixed = {
        "scheme": request.scheme,
        "host": request.host,
        "hostname": request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host,
        "path": paths.encode(request.path),
        "uri": request.uri,
        "escaped-uri": urllib.parse.quote(request.uri, safe=""),
        "query": request.query,
        "question": "?" if request.query else "",
        "method": request.method,
        "client": request.client,
    }
    return fixed[name]


def _cookies(request: Request) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in request.headers.get("cookie", "").split(";"))
    return {name: value for name, equals, value in pairs if equals}


def _location(route: table.Route, redirect: table.Redirect, request: Request) -> str:
    if redirect.location:
        return expand(redirect.location, request)
    hostname, _, port = request.host.partition(":")
    host = redirect.host or hostname
    number = redirect.port or (int(port) if port and not redirect.scheme else 0)
    scheme = redirect.scheme or request.scheme
    path = redirect.path or request.raw_path
    if redirect.path_prefix and route.match.path is not None:
        path = _joined(redirect.path_prefix, request.raw_path, route.match.path.value)
    query = f"?{request.query}" if request.query else ""
    return f"{scheme}://{host}{f':{number}' if number else ''}{path}{query}"


def _joined(prefix: str, path: str, matched: str) -> str:
    rest, prefix = paths.rest(path, paths.of_route(matched).rstrip("/")), prefix.rstrip("/")
    slash = "/" if not prefix or (rest and not rest.startswith(("/", "%2F", "%2f"))) else ""
    return prefix + slash + (rest.removeprefix("/") if slash else rest)


def _rewritten(route: table.Route, request: Request) -> tuple[str, str]:
    rewrite = route.rewrite
    if rewrite is None:
        return request.uri, request.host
    path, query = request.raw_path, request.query
    if rewrite.regex and (match := re.search(rewrite.regex, request.path)):
        path = re.sub(r"\$([1-9])", lambda group: _group(match, int(group[1])), rewrite.substitution)
        path, _, added = path.partition("?")
        query = "&".join(part for part in (added, query) if part)
    elif rewrite.path:
        path = rewrite.path
    elif rewrite.path_prefix and route.match.path is not None:
        path = _joined(rewrite.path_prefix, path, route.match.path.value)
    return (path or "/") + (f"?{query}" if query else ""), rewrite.host or request.host


def _group(match: re.Match[str], number: int) -> str:
    return paths.encode(match[number] or "") if number <= (match.re.groups or 0) else ""


def _may_enter(access: table.Access | None, client: str) -> bool:
    if access is None:
        return True
    if _within(client, access.deny):
        return False
    other = access.any and (access.basic is not None or access.request is not None)
    return not access.allow or _within(client, access.allow) or other


def _within(client: str, networks: Iterable[str]) -> bool:
    address = ipaddress.ip_address(client)
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def _asks(route: table.Route, client: str) -> tuple[str, ...]:
    access = route.access or table.Access()
    if access.any and _within(client, access.allow):
        return ("limits",) if route.limits else ()
    found = [name for name in ("basic", "request", "certificate") if getattr(access, name) is not None]
    return tuple([*found, "limits"] if route.limits else found)
