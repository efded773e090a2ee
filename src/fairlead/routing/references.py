"""References to Backends: a Service's port by name or number, a name outside the cluster, and variants with a policy.

A variant shares the Service's endpoints and has an id of its own (`NAMESPACE/SERVICE:PORT/http@OWNER~HASH`), so that
one object's words never change another's traffic. An ExternalName is a Backend whose name the engine resolves; names of
this machine itself are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import ipaddress
from typing import Any

import msgspec

from fairlead.routing import draft, services, table

Object = dict[str, Any]


class NoBackend(ValueError):
    """A reference that leads nowhere: `reason`, a sentence, and where below the reference it is wrong."""

    def __init__(self, reason: str, message: str, *, below: str = "") -> None:
        super().__init__(message)
        self.reason, self.below = reason, below


class References:
    """Finds Backends, and adds them to the draft. One for each translation."""

    def __init__(self, work: draft.Draft) -> None:
        self._work = work

    def ingress(self, reference: Object, namespace: str) -> str:
        """The id for an IngressBackend. Raises NoBackend."""
        target = reference.get("service")
        if not target:
            raise NoBackend("UnsupportedBackend", "only a service can be a backend; resource backends are not carried")
        wanted = target.get("port") or {}
        return self.service((namespace, target.get("name") or ""), wanted.get("name") or wanted.get("number"))

    def service(self, key: tuple[str, str], wanted: object, *, tls: bool = False) -> str:
        """The id of a Service's port, by name or number; None is its first. Raises NoBackend."""
        asked = ("/".join(key), wanted, tls)
        try:
            found = self._service(key, wanted, tls=tls)
        except NoBackend as error:
            self._work.asked[asked] = str(error)
            raise
        self._work.asked[asked] = (self._work.backends[found], self._work.sources.get(found))
        return found

    def _service(self, key: tuple[str, str], wanted: object, *, tls: bool) -> str:
        service = self._work.services.get("/".join(key))
        if service is None:
            raise NoBackend("BackendNotFound", f"there is no Service {'/'.join(key)}; requests get 503")
        spec = service.get("spec") or {}
        ports = spec.get("ports") or ()
        if spec.get("type") == "ExternalName":
            number = next((port["port"] for port in ports if port.get("name") == wanted), wanted)
            return self.external(str(spec.get("externalName") or ""), number, tls=tls)
        for port in ports:
            if wanted is None or wanted in (port.get("name"), port["port"]):
                return services.http_backend(self._work, service, port)
        have = ", ".join(services.port_id(port) for port in ports) or "none"
        message = f"Service {'/'.join(key)} has no port {wanted} (it has {have})"
        raise NoBackend("PortNotFound", message, below=".service.port")

    def external(self, host: str, port: object, *, tls: bool = False) -> str:
        """The id of a name outside the cluster. Raises NoBackend for this machine's own names."""
        number = port if isinstance(port, int) else 443 if tls else 80
        name = host.lower().rstrip(".")
        if not name or name == "localhost" or name.endswith(".localhost") or _is_own(name):
            raise NoBackend("ForbiddenName", f"{host!r} would reach this machine itself")
        identity = f"@external/{name}:{number}{'/tls' if tls else ''}"
        self._work.backends.setdefault(
            identity,
            table.Backend(
                id=identity,
                protocol="https" if tls else "http",
                resolve=f"{name}:{number}",
                tls=table.BackendTls(server_name=name, insecure=True) if tls else None,
                info=table.Info(object=f"Name/{name}"),
            ),
        )
        return identity

    def variant(self, base: str, owner: str, fields: dict[str, Any]) -> str:
        """The id of the Backend with other fields; the Backend itself where they change nothing."""
        known = self._work.backends[base]
        fields = {name: value for name, value in fields.items() if getattr(known, name) != value}
        if not fields:
            return base
        content = hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()
        name = f"{base}@{owner}~{content[:6]}"
        if name not in self._work.backends:
            self._work.backends[name] = msgspec.structs.replace(known, id=name, virtual=(), **fields)
            if base in self._work.sources:
                self._work.sources[name] = dataclasses.replace(self._work.sources[base], backend=name)
        return name


def outcome(work: draft.Draft, asked: draft.Asked) -> object:
    """What a draft's `asked` would say of that reference now: equal outcomes, equal parts of a table."""
    service, wanted, tls = asked
    namespace, _, name = service.partition("/")
    with contextlib.suppress(NoBackend):
        References(work).service((namespace, name), wanted, tls=tls)
    return work.asked[asked]


def _is_own(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
