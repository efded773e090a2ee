"""A load balancer without Kubernetes: a small document (a file, or flags made into one) becomes the same routing table.

    listeners:
      web: {address: "http://:8080"}                      # http, https, tcp, udp, tls
      secure: {address: "https://:8443", certificates: [{certificate: web.pem, key: web.key}]}
    backends:
      app:
        endpoints: ["10.0.0.1:80", {address: 10.0.0.2, port: 80, weight: 2}, "app.example:80"]
        algorithm: least-request
        health: {kind: http, path: /healthz}
    routes:
      - {hosts: [a.example], path: /api, backends: [{backend: app, weight: 1}]}

Every other field is the table's own (`fairlead.routing.table`, docs/protocol.md). Without routes, all requests and
connections go to the one backend. Mistakes are Problems that name the field; a document with one is refused whole.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import policy, settings, strict, table

ReadFile = Callable[[str], str]
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_SCHEMES = ("http", "https", "tcp", "udp", "tls")
_SUGAR = {
    "listeners": ("address", "certificates", "client_ca"),
    "backends": ("endpoints",),
    "routes": ("path", "backends"),
}


@dataclass(frozen=True, slots=True)
class Named:
    """Endpoints that are given by a name, which the caller resolves: host, port, weight."""

    host: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Standalone:
    """The table, the endpoints with addresses, and those with names, by Backend."""

    structure: table.Structure
    endpoints: dict[str, tuple[table.Endpoint, ...]]
    named: dict[str, tuple[Named, ...]]


class _Reader:
    def __init__(self, source: str, read_file: ReadFile) -> None:
        self.source, self.read_file = source, read_file
        self.problems: list[Problem] = []
        self.listeners: dict[str, table.Listener] = {}
        self.routes: dict[str, table.Route] = {}
        self.backends: dict[str, table.Backend] = {}
        self.certificates: dict[str, table.Certificate] = {}
        self.endpoints: dict[str, tuple[table.Endpoint, ...]] = {}
        self.named: dict[str, tuple[Named, ...]] = {}

    def wrong(self, path: str, message: str, reason: str = "Invalid") -> None:
        self.problems.append(Problem(self.source, path, reason, message))

    def struct(self, data: dict[str, Any], kind: Any, path: str) -> Any:
        found, mistakes = strict.convert(data, kind, path=path)
        for where, message in mistakes:
            self.wrong(where, message)
        return found

    def section(self, document: dict[str, Any], name: str, empty: Any) -> Any:
        value = document.get(name, empty)
        if not isinstance(value, type(empty)):
            self.wrong(name, f"must be a {'mapping' if empty == {} else 'list'}")
            return empty
        return value


def translate(document: Any, *, source: str, read_file: ReadFile) -> tuple[Standalone | None, list[Problem]]:
    """The table of a document, or None and what is wrong. `read_file` returns a file's text or raises OSError."""
    reader = _Reader(source, read_file)
    if not isinstance(document, dict):
        reader.wrong("", "a mapping with listeners, backends and routes is expected")
        return None, reader.problems
    for key in document.keys() - {"listeners", "backends", "routes"}:
        reader.wrong(str(key), "unknown field; known are listeners, backends and routes")
    for name, entry in reader.section(document, "backends", {}).items():
        _backend(reader, str(name), entry)
    for name, entry in reader.section(document, "listeners", {}).items():
        _listener(reader, str(name), entry)
    for index, entry in enumerate(reader.section(document, "routes", [])):
        _route(reader, index, entry)
    if not document.get("listeners"):
        reader.wrong("listeners", "at least one is needed, such as {web: {address: http://:8080}}", "Required")
    if "routes" not in document and len(reader.backends) == len(document.get("backends") or ()):
        _single_route(reader)
    _references(reader)
    if reader.problems:
        return None, reader.problems
    structure = table.Structure(
        listeners=reader.listeners, routes=reader.routes, backends=reader.backends, certificates=reader.certificates
    )
    return Standalone(structure, reader.endpoints, reader.named), []


def _backend(reader: _Reader, name: str, entry: Any) -> None:
    path = f"backends.{name}"
    if not isinstance(entry, dict):
        reader.wrong(path, "must be a mapping with endpoints")
        return
    fields = {key: value for key, value in entry.items() if key != "endpoints"}
    backend = reader.struct({"id": name, **fields}, table.Backend, path)
    if backend is not None:
        reader.backends[name] = backend
    if backend is not None and backend.algorithm not in ("", *policy.ALGORITHMS):
        known = ", ".join(policy.ALGORITHMS)
        reader.wrong(f"{path}.algorithm", f"there is no algorithm {backend.algorithm!r}; there are {known}")
    given = entry.get("endpoints") or []
    if not isinstance(given, list):
        reader.wrong(f"{path}.endpoints", 'must be a list, such as ["10.0.0.1:80"]')
        given = []
    addresses, names = [], []
    for index, item in enumerate(given):
        found = _endpoint(reader, item, f"{path}.endpoints[{index}]")
        if isinstance(found, Named):
            names.append(found)
        elif found is not None:
            addresses.append(found)
    reader.endpoints[name], reader.named[name] = tuple(addresses), tuple(names)


def _endpoint(reader: _Reader, item: Any, path: str) -> table.Endpoint | Named | None:
    data = dict(item) if isinstance(item, dict) else {"address": str(item)}
    if "port" not in data:
        data["address"], _, port = str(data.get("address", "")).rpartition(":")
        data["port"] = int(port) if port.isdigit() else port
    data["address"] = str(data["address"]).strip("[]")
    if not data["address"] or not isinstance(data["port"], int) or not 1 <= data["port"] <= 65535:
        said = item.get("address") if isinstance(item, dict) and "port" not in item else item
        reader.wrong(path, f"{said!r}: ADDRESS:PORT is expected, with a port from 1 to 65535")
        return None
    endpoint: table.Endpoint | None = reader.struct(data, table.Endpoint, path)
    if endpoint is None:
        return None
    if not 0 <= endpoint.weight <= 1_000_000:
        reader.wrong(f"{path}.weight", f"{endpoint.weight}: must be from 0 to 1000000")
    try:
        ipaddress.ip_address(endpoint.address)
    except ValueError:
        if not _HOST.fullmatch(endpoint.address):
            scheme = "; no scheme stands before it (TLS to servers: the backend's tls)" * ("//" in endpoint.address)
            reader.wrong(path, f"{endpoint.address!r} is no address and no name{scheme}")
            return None
        return Named(endpoint.address, endpoint.port, endpoint.weight)
    return endpoint


def _listener(reader: _Reader, name: str, entry: Any) -> None:
    path = f"listeners.{name}"
    if not isinstance(entry, dict) or not isinstance(entry.get("address"), str):
        reader.wrong(f"{path}.address", "SCHEME://ADDRESS:PORT is expected, such as http://:8080")
        return
    scheme, _, rest = entry["address"].partition("://")
    address, _, port = rest.rstrip("/").rpartition(":")
    if scheme not in _SCHEMES or not port.isdigit() or not 1 <= int(port) <= 65535:
        reader.wrong(f"{path}.address", f"{entry['address']!r}: one of {', '.join(_SCHEMES)}, then ://ADDRESS:PORT")
        return
    fields = {key: value for key, value in entry.items() if key not in _SUGAR["listeners"]}
    fields |= {"id": name, "protocol": scheme}
    fields["sockets"] = [
        settings.socket_id("udp" if scheme == "udp" else "tcp", one, int(port)) for one in _addresses(address)
    ]
    fields["certificates"] = _certificates(reader, name, entry.get("certificates") or [], path)
    if entry.get("client_ca"):
        fields["client_ca"] = _file(reader, entry["client_ca"], f"{path}.client_ca")
    listener = reader.struct(fields, table.Listener, path)
    if scheme == "https" and not fields["certificates"]:
        reader.wrong(f"{path}.certificates", "https needs at least one {certificate, key}", "Required")
    if listener is not None:
        reader.listeners[name] = listener


def _addresses(text: str) -> list[str]:
    host = text.strip("[]")
    return ["0.0.0.0", "::"] if host in ("", "*") else ["127.0.0.1", "::1"] if host == "localhost" else [host]  # noqa: S104


def _certificates(reader: _Reader, listener: str, entries: Any, path: str) -> list[str]:
    names = []
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        where = f"{path}.certificates[{index}]"
        if not isinstance(entry, dict) or set(entry) != {"certificate", "key"}:
            reader.wrong(where, "must be {certificate: FILE, key: FILE}")
            continue
        name = f"{listener}/{index}"
        chain, key = (_file(reader, entry[part], f"{where}.{part}") for part in ("certificate", "key"))
        reader.certificates[name] = table.Certificate(id=name, chain_pem=chain, key_pem=key)
        names.append(name)
    return names


def _file(reader: _Reader, name: Any, path: str) -> str:
    try:
        return reader.read_file(str(name))
    except OSError as error:
        reader.wrong(path, f"{name}: {error.strerror}", "NotFound")
    except UnicodeDecodeError:
        reader.wrong(path, f"{name}: is not text; certificates and keys are read as PEM")
    return ""


def _route(reader: _Reader, index: int, entry: Any) -> None:
    path = f"routes[{index}]"
    if not isinstance(entry, dict):
        reader.wrong(path, "must be a mapping with backends")
        return
    fields = {key: value for key, value in entry.items() if key != "path"}
    fields["id"], fields["order"] = path, entry.get("order", index)
    if "path" in entry:
        fields["match"] = {**(entry.get("match") or {}), "path": _path_match(entry["path"])}
    if isinstance(entry.get("backends"), list):
        fields["backends"] = [{"backend": one} if isinstance(one, str) else one for one in entry["backends"]]
    route = reader.struct(fields, table.Route, path)
    if route is not None:
        reader.routes[path] = route


def _path_match(value: Any) -> Any:
    return {"type": "prefix", "value": value} if isinstance(value, str) else value


def _single_route(reader: _Reader) -> None:
    """No routes given: the one backend takes everything that http listeners accept."""
    if not any(one.protocol in ("http", "https") for one in reader.listeners.values()):
        return
    if len(reader.backends) != 1:
        reader.wrong("routes", "is needed where there is not exactly one backend", "Required")
        return
    [name] = reader.backends
    reader.routes["all"] = table.Route(id="all", backends=(table.WeightedBackend(backend=name),))


def _references(reader: _Reader) -> None:
    """Names that must be there; http Routes go to every http Listener unless they say otherwise."""
    doors = tuple(name for name, one in reader.listeners.items() if one.protocol in ("http", "https"))
    for name, route in list(reader.routes.items()):
        for reference in route.backends:
            if reference.backend not in reader.backends:
                reader.wrong(f"{name}.backends", f"no backend {reference.backend!r}", "NotFound")
        for listener in route.listeners:
            if listener not in reader.listeners:
                reader.wrong(f"{name}.listeners", f"no listener {listener!r}", "NotFound")
        if not route.listeners:
            reader.routes[name] = _replace(route, listeners=doors)
    given = dict(reader.backends)
    for name, one in list(reader.listeners.items()):
        if one.protocol in ("tcp", "udp"):
            if wanted := _view(reader, name, one, given):
                reader.listeners[name] = _replace(one, backend=wanted)
        elif one.protocol == "tls":
            _tls_route(reader, name, one, given)


def _tls_route(reader: _Reader, name: str, listener: table.Listener, given: dict[str, table.Backend]) -> None:
    """A tls Listener that no Route names gives every name to its one Backend."""
    named = any(name in route.listeners for route in reader.routes.values())
    if not named and (wanted := _view(reader, name, listener, given)):
        whole = (table.WeightedBackend(backend=wanted),)
        reader.routes[f"{name}/all"] = table.Route(id=f"{name}/all", listeners=(name,), backends=whole)
        reader.listeners[name] = _replace(listener, backend="")


def _view(reader: _Reader, name: str, listener: table.Listener, given: dict[str, table.Backend]) -> str:
    """The Backend of a tcp, udp or tls Listener: it speaks that protocol, so one that Routes use too has two views."""
    wanted = listener.backend or (next(iter(given)) if len(given) == 1 else "")
    if wanted not in given:
        missing = "is needed where there is not exactly one backend"
        reader.wrong(f"listeners.{name}.backend", f"no backend {wanted!r}" if wanted else missing, "NotFound")
        return ""
    protocol = "tcp" if listener.certificates else listener.protocol  # TLS that ends here goes on as TCP
    if any(one.backend == wanted for route in reader.routes.values() for one in route.backends):
        view = f"{wanted}/{protocol}"
        reader.endpoints[view], reader.named[view] = reader.endpoints[wanted], reader.named[wanted]
        reader.backends[view] = _replace(given[wanted], id=view, protocol=protocol)
        return view
    reader.backends[wanted] = _replace(given[wanted], protocol=protocol)
    return wanted


def _replace(struct: Any, **changes: Any) -> Any:
    return type(struct)(**{name: getattr(struct, name) for name in struct.__struct_fields__} | changes)
