"""Backends of nginx-class Ingresses: a Service port's L7 view, or a variant of it with the Ingress's own policy.

A variant shares the Service's endpoints and has an id of its own (`NAMESPACE/SERVICE:PORT/http@INGRESS`), so that one
Ingress's words never change another's traffic. A name outside the cluster is a Backend that the engine resolves.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable
from typing import Any

import msgspec

from fairlead.routing import draft, services, table
from fairlead.routing.ingress_nginx import objects, sites, url

Object = dict[str, Any]
Get = Callable[..., Any]


class NoBackend(ValueError):
    """A reference that leads nowhere: `reason` and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Backends:
    """Adds Backends to the draft."""

    def __init__(self, work: draft.Draft, secrets: objects.Lookup) -> None:
        self._work = work
        self._secrets = secrets
        self._variants: dict[tuple[str, bytes], str] = {}

    def reference(self, reference: Object, source: sites.Source, get: Get, *, path: str) -> str:
        """The id for an Ingress's own reference, with the Ingress's policy. Raises NoBackend."""
        target = reference.get("service")
        if not isinstance(target, dict):
            raise NoBackend("UnsupportedBackend", "only a service can be a backend; resource backends are not carried")
        wanted = target.get("port") or {}
        base = self.service((source.namespace, str(target.get("name"))), wanted.get("name") or wanted.get("number"))
        return self._variant(base, source, self._policy(source, get, path=path))

    def service(self, key: tuple[str, str], wanted: object, *, tls: bool = False) -> str:
        """The id of a Service's port, by name or number; None is its first. Raises NoBackend."""
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
        raise NoBackend("PortNotFound", f"Service {'/'.join(key)} has no port {wanted} (it has {have})")

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

    def url(self, target: url.Url) -> str:
        """The id for a URL's host. Raises NoBackend."""
        tls = target.scheme == "https"
        if target.service is None:
            return self.external(target.host, target.port, tls=tls)
        base = self.service(target.service, target.port)
        if not tls:
            return base
        return self._add(base, f"{base}@tls", {"protocol": "https", "tls": table.BackendTls(insecure=True)})

    def _policy(self, source: sites.Source, get: Get, *, path: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if hash_on := get("upstream-hash-by"):
            fields |= {"algorithm": "ring-hash", "hash_on": hash_on}
            if get("upstream-hash-by-subset"):
                fields["subset"] = get("upstream-hash-by-subset-size", 3)
        elif algorithm := get("load-balance"):
            fields["algorithm"] = algorithm
        if get("affinity"):
            fields["affinity"] = affinity(get, path=path)
        if get("backend-protocol", "http") != "http":
            fields["protocol"] = get("backend-protocol")
        if get("backend-protocol") in ("https", "h2"):
            fields["tls"] = self._tls(source, get)
        return fields

    def _tls(self, source: sites.Source, get: Get) -> table.BackendTls:
        authority = certificate = ""
        if reference := get("proxy-ssl-secret"):
            secret = self._secrets.get(reference, namespace=source.namespace)
            authority = objects.secret_text(secret, "ca.crt")
            chain, key = (objects.secret_text(secret, name) for name in ("tls.crt", "tls.key"))
            if "BEGIN CERTIFICATE" in chain and "PRIVATE KEY" in key:
                certificate = f"{source.namespace}/{reference[1]}"
                self._work.certificates[certificate] = table.Certificate(id=certificate, chain_pem=chain, key_pem=key)
        verify = get("proxy-ssl-verify", False)
        if verify and "BEGIN CERTIFICATE" not in authority:
            raise ValueError("proxy-ssl-verify needs a proxy-ssl-secret with PEM certificates in ca.crt")
        return table.BackendTls(
            ca_pem=authority if verify else "",
            server_name=get("proxy-ssl-name", ""),
            certificate=certificate,
            insecure=not verify,
        )

    def _variant(self, base: str, source: sites.Source, fields: dict[str, Any]) -> str:
        known = self._work.backends[base]
        fields = {name: value for name, value in fields.items() if getattr(known, name) != value}
        if not fields:
            return base
        key = (f"{base}@{source.name}", msgspec.json.encode(fields))
        number = sum(1 for one, _ in self._variants if one == key[0])
        name = self._variants.setdefault(key, f"{key[0]}/{number}" if number else key[0])
        return self._add(base, name, fields)

    def _add(self, base: str, name: str, fields: dict[str, Any]) -> str:
        if name not in self._work.backends:
            known = self._work.backends[base]
            self._work.backends[name] = msgspec.structs.replace(known, id=name, virtual=(), **fields)
            if base in self._work.sources:
                self._work.sources[name] = dataclasses.replace(self._work.sources[base], backend=name)
        return name


def affinity(get: Get, *, path: str) -> table.Affinity:
    """affinity: cookie, with its session-cookie-* words."""
    secure = get("session-cookie-secure")
    return table.Affinity(
        kind="cookie",
        cookie=get("session-cookie-name", "INGRESSCOOKIE"),
        path=get("session-cookie-path", path),
        domain=get("session-cookie-domain", ""),
        same_site=get("session-cookie-samesite", ""),
        secure="" if secure is None else "always" if secure else "never",
        max_age_seconds=get("session-cookie-max-age", 0) or get("session-cookie-expires", 0),
        partitioned=get("session-cookie-partitioned", False),
        persistent=get("affinity-mode", "balanced") == "persistent",
        change_on_failure=get("session-cookie-change-on-failure", False),
        sticky_split=get("affinity-canary-behavior", "sticky") == "sticky",
    )


def _is_own(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
