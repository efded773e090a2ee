"""The list of Gateway API's features: read, made into a table, written as a page."""

from __future__ import annotations

import pathlib
import urllib.parse
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from fairlead.routing import outcome, table

ROOT = pathlib.Path(__file__).parents[2]
_FILE = ROOT / "tests" / "golden" / "gateway" / "features.yaml"
DOORS = ("edge-http", "other-http")
_PAGE = """\
# Gateway API in the routing table

The routing table can say what Gateway API's routes say, so that Gateway API is another translator and nothing else
(there is none yet: Ingresses and `fairlead lb` files are translated). This page is the mapping, by the names of the
features that an implementation declares (`GatewayClass.status.supportedFeatures`). Each line is checked on the
interpreter and on the engine (tests/golden/gateway/features.yaml).

| feature | of | in the table |
| --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and what is to become of it: `status` and `location`, or `backend`, `uri` and `host`."""

    listener: str
    request: outcome.Request
    status: int = 0
    location: str = ""
    backend: str = ""
    uri: str = ""
    host: str = ""
    sees: tuple[tuple[str, str], ...] = ()
    gets: tuple[tuple[str, str], ...] = ()


def load() -> list[dict[str, Any]]:
    """All features."""
    found: list[dict[str, Any]] = yaml.safe_load(_FILE.read_text())
    return found


def structure(one: dict[str, Any]) -> table.Structure:
    """The table of a feature: two http doors, its own Listeners, and the Backends a, b and c."""
    listeners = {name: {"protocol": "http"} for name in DOORS} | one.get("listeners", {})
    backends: dict[str, Any] = {name: {} for name in "abc"} | one.get("backends", {})
    routes = [{"listeners": ["edge-http"], **route} for route in one.get("routes", ())]
    return table.Structure(
        listeners={name: msgspec.convert({"id": name, **fields}, table.Listener) for name, fields in listeners.items()},
        routes={route["id"]: msgspec.convert(route, table.Route) for route in routes},
        backends={name: msgspec.convert({"id": name, **fields}, table.Backend) for name, fields in backends.items()},
    )


def parse(line: str) -> Asked:
    """`METHOD URL [| Name: value]... -> STATUS [LOCATION] | BACKEND URI [HOST] [| sees name: value] [| gets ...]`."""
    asked, _, wanted = line.partition(" -> ")
    first, *fields = asked.split(" | ")
    method, url = first.split(" ")
    parts = urllib.parse.urlsplit(url)
    headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in fields)}
    uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = outcome.Request(host=parts.netloc, uri=uri, method=method, headers=headers, client="127.0.0.1")
    answer, *shown = wanted.split(" | ")
    words = [*answer.split(" "), "", ""]
    listener = "other-http" if parts.scheme == "other" else "edge-http"
    sees, gets = (_shown(shown, kind) for kind in ("sees", "gets"))
    if words[0].isdigit():
        return Asked(listener, request, status=int(words[0]), location=words[1], sees=sees, gets=gets)
    return Asked(listener, request, backend=words[0], uri=words[1], host=words[2], sees=sees, gets=gets)


def _shown(shown: list[str], kind: str) -> tuple[tuple[str, str], ...]:
    pairs = (one.partition(" ")[2].partition(":") for one in shown if one.startswith(kind))
    return tuple((name, value.strip()) for name, _, value in pairs)


def page(features: list[dict[str, Any]]) -> str:
    """The page of documentation."""
    lines = [
        f"| `{one['feature']}` | {one['of']} | {one['says'] if 'says' in one else 'cannot be said: ' + one['not']} |\n"
        for one in features
    ]
    return _PAGE + "".join(lines)
