"""The policy of an nginx-class Ingress on its Backends: balancing, sessions, protocol and TLS. A variant carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.routing import draft, references, table
from fairlead.routing.ingress_nginx import objects, sites, url

Object = dict[str, Any]
Get = Callable[..., Any]
NoBackend = references.NoBackend


class Backends:
    """Adds Backends to the draft."""

    def __init__(self, work: draft.Draft, secrets: objects.Lookup) -> None:
        self._work = work
        self._secrets = secrets
        self._references = references.References(work)

    def reference(self, reference: Object, source: sites.Source, get: Get, *, path: str) -> str:
        """The id for an Ingress's own reference, with the Ingress's policy. Raises NoBackend."""
        base = self._references.ingress(reference, source.namespace)
        attached = self._work.attached.of("Ingress", source.namespace, source.name)
        return self._references.variant(base, source.name, {**attached, **self._policy(source, get, path=path)})

    def service(self, key: tuple[str, str], wanted: object) -> str:
        """The id of a Service's port, without a policy of its own. Raises NoBackend."""
        return self._references.service(key, wanted)

    def url(self, target: url.Url) -> str:
        """The id for a URL's host. Raises NoBackend."""
        tls = target.scheme == "https"
        if target.service is None:
            return self._references.external(target.host, target.port, tls=tls)
        base = self._references.service(target.service, target.port)
        if not tls:
            return base
        return self._references.variant(base, "tls", {"protocol": "https", "tls": table.BackendTls(insecure=True)})

    def _policy(self, source: sites.Source, get: Get, *, path: str) -> dict[str, Any]:
        fields = {} if get("service-upstream", False) else _balancing(get, path=path)
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


#: what of an Ingress does not apply where its Services balance themselves
BALANCING = ("load-balance", "upstream-hash-by", "affinity")


def _balancing(get: Get, *, path: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if hash_on := get("upstream-hash-by"):
        fields |= {"algorithm": "ring-hash", "hash_on": hash_on}
        if get("upstream-hash-by-subset"):
            fields["subset"] = get("upstream-hash-by-subset-size", 3)
    elif algorithm := get("load-balance"):
        fields["algorithm"] = algorithm
    if get("affinity"):
        fields["affinity"] = affinity(get, path=path)
    return fields


def affinity(get: Get, *, path: str) -> table.Affinity:
    """affinity: cookie, with its session-cookie-* words."""
    return table.Affinity(
        kind="cookie",
        cookie=get("session-cookie-name", "INGRESSCOOKIE"),
        path=get("session-cookie-path", path),
        domain=get("session-cookie-domain", ""),
        same_site=get("session-cookie-samesite", ""),
        secure="always" if get("session-cookie-secure") else "",  # "false" is nothing there: the scheme decides
        max_age_seconds=get("session-cookie-max-age", 0) or get("session-cookie-expires", 0),
        partitioned=get("session-cookie-partitioned", False),
        balanced=get("affinity-mode", "balanced") == "balanced",
        change_on_failure=get("session-cookie-change-on-failure", False),
        sticky_split=get("affinity-canary-behavior", "sticky") == "sticky",
    )
