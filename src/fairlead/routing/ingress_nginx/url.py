"""URLs in annotations (auth-url, mirror-target): split into where to and what for. Nothing is resolved or opened.

`http://NAME.NAMESPACE.svc[.DOMAIN]` is a Service of this cluster, any other host a name that the engine resolves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead.routing import table
from fairlead.routing.ingress_nginx import template, values

_URL = re.compile(r"(https?)://(\$host|\$http_host|\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?([/?$].*)?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """`service` is (namespace, name) where the host is a Service's; `self_host` where it is the request's own."""

    scheme: str
    host: str
    port: int
    uri: table.Template
    service: tuple[str, str] | None = None
    self_host: bool = False


def parse(value: str) -> Url:
    """A URL with a literal host, or $host."""
    values.header_text(value)
    match = _URL.fullmatch(value)
    if match is None or re.search(r"[\s\"\\<>;{}]", value):
        raise ValueError(f"{value!r} is not http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")
    scheme, host, port, path = match.groups()
    number = int(port or _PORTS[scheme])
    if not 0 < number < 65536:
        raise ValueError(f"{value!r} has no valid port")
    uri = template.parse(path or "")
    if host.startswith("$"):
        return Url(scheme, "", number, uri, self_host=True)
    name = host if host.startswith("[") else values.host(host)
    return Url(scheme, name, number, uri, service=_service(name))


def _service(host: str) -> tuple[str, str] | None:
    labels = host.split(".")
    return (labels[1], labels[0]) if len(labels) >= 3 and labels[2] == "svc" else None
