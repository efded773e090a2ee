"""nginx variables in annotation values, as Templates of the routing table.

A value becomes a list of plain texts and of variables from a closed set. What the set does not have is a ValueError
that names it; nothing is looked up, and no part is ever parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fairlead.routing import table
from fairlead.routing.ingress_nginx import values

_VARIABLE = re.compile(r"\$(?:\{([a-z0-9_]+)\}|([a-z0-9_]+))", re.IGNORECASE)
_VARIABLES = {
    "scheme": "scheme", "pass_access_scheme": "scheme", "host": "hostname", "server_name": "hostname",
    "http_host": "host", "best_http_host": "host", "uri": "path", "document_uri": "path", "request_uri": "uri",
    "escaped_request_uri": "escaped-uri", "args": "query", "query_string": "query", "is_args": "question",
    "request_method": "method", "remote_addr": "client", "binary_remote_addr": "client", "the_real_ip": "client",
}  # fmt: skip
_NAMED = {"http_": "header", "cookie_": "cookie", "arg_": "query"}


def parse(value: str, *, known: Mapping[str, str] | None = None) -> table.Template:
    """The value's parts. `known` are variables whose value is fixed (a namespace, a Service's name)."""
    parts: list[table.Part] = []
    end = 0
    for found in _VARIABLE.finditer(value):
        _text(parts, value[end : found.start()])
        name = (found[1] or found[2]).lower()
        if name in (known or {}):
            _text(parts, (known or {})[name])
        else:
            parts.append(("variable", variable(name)))
        end = found.end()
    _text(parts, value[end:])
    return tuple(parts)


def _text(parts: list[table.Part], text: str) -> None:
    if "$" in text:
        raise ValueError(f"{text!r} has a $ that begins no variable")
    if text and parts and parts[-1][0] == "text":
        parts[-1] = ("text", parts[-1][1] + text)
    elif text:
        parts.append(("text", text))


def variable(name: str) -> str:
    """The table's word for an nginx variable (without its $)."""
    if name in _VARIABLES:
        return _VARIABLES[name]
    for prefix, kind in _NAMED.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            rest = name.removeprefix(prefix)
            return f"{kind}:{rest.replace('_', '-') if kind == 'header' else rest}"
    raise ValueError(f"the variable ${name} is not carried (there are {', '.join('$' + one for one in _VARIABLES)})")


def location(value: str) -> table.Template:
    """A redirect's target: http, https or $scheme, an authority, a path; or a path alone."""
    values.header_text(value)
    if re.search(r"[\s\"\\<>;{}]", _VARIABLE.sub("", value)):
        raise ValueError(f"{value!r} is not a URL: it contains a space, quote, backslash, ; or a brace")
    if not re.match(r"(https?|\$scheme|\$pass_access_scheme)://[^/]|/(?!/)|\$(request_)?uri", value):
        raise ValueError(f"{value!r} does not begin with http://, https://, $scheme:// or /")
    return parse(value)


def hash_on(value: str) -> str:
    """The variables that a hash takes, joined by +; fixed text changes no choice and is left out."""
    names = [name for kind, name in parse(value) if kind == "variable"]
    if not names:
        raise ValueError(f"{value!r} names no variable, so every request would go to one endpoint")
    return "+".join(dict.fromkeys(names))


def plain(template: table.Template) -> str | None:
    """The text of a Template without variables; None when it has one."""
    return "".join(text for _, text in template) if all(kind == "text" for kind, _ in template) else None
