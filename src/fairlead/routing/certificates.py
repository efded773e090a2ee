"""TLS Secrets to Certificates: only those that an Ingress of ours names are read, and only in its own namespace.

A pair that cannot be read or does not belong together is told and left out; one for other hosts is told and used.
"""

from __future__ import annotations

import base64
import functools
from typing import Any

from fairlead.base import x509
from fairlead.routing import draft, table

Object = dict[str, Any]


def add(work: draft.Draft, ingress: Object) -> None:
    """Adds what the Ingress's `spec.tls` names, to a draft of its own."""
    _Secrets(work).add(ingress)


class _Secrets:
    """Collects the certificates of one Ingress."""

    def __init__(self, work: draft.Draft) -> None:
        self._work = work
        self._names: dict[str, tuple[str, ...]] = {}

    def add(self, ingress: Object) -> None:
        """Adds what `spec.tls` names."""
        obj, namespace = f"Ingress/{draft.key(ingress)}", ingress["metadata"].get("namespace", "")
        for index, entry in enumerate((ingress.get("spec") or {}).get("tls") or ()):
            if name := entry.get("secretName"):
                path, key = f"spec.tls[{index}].secretName", f"{namespace}/{name}"
                self._add(obj, path, key)
                self._compare(obj, path, key, [str(host).lower() for host in entry.get("hosts") or ()])

    def _compare(self, obj: str, path: str, key: str, hosts: list[str]) -> None:
        names = self._names.get(key)
        for host in hosts:
            if names and not x509.covers(names, host):
                message = f"the certificate in Secret {key} is for {', '.join(names)}, not for {host}"
                self._work.problem(obj, path, "CertificateMismatch", message)

    def _add(self, obj: str, path: str, key: str) -> None:
        if key in self._work.certificates:
            return
        secret = self._work.secrets.get(key)
        if secret is None:
            self._work.problem(obj, path, "SecretNotFound", f"there is no Secret {key}; its hosts have no certificate")
            return
        pem = [_decoded(secret, name) for name in ("tls.crt", "tls.key")]
        if "BEGIN CERTIFICATE" not in pem[0] or "PRIVATE KEY" not in pem[1]:
            self._work.problem(
                obj, path, "InvalidCertificate", f"Secret {key} holds no PEM certificate and key in tls.crt and tls.key"
            )
            return
        try:
            self._names[key] = _names(*pem) if self._work.settings.check_certificates else ()
        except ValueError as error:
            self._work.problem(obj, path, "InvalidCertificate", f"Secret {key}: {error}")
            return
        self._work.certificates[key] = table.Certificate(id=key, chain_pem=pem[0], key_pem=pem[1])


@functools.lru_cache(maxsize=256)
def _names(chain_pem: str, key_pem: str) -> tuple[str, ...]:
    return x509.names(chain_pem, key_pem)


def _decoded(secret: Object, name: str) -> str:
    plain = (secret.get("stringData") or {}).get(name)
    if plain is not None:
        return str(plain)
    try:
        return base64.b64decode((secret.get("data") or {}).get(name) or "", validate=True).decode()
    except ValueError:  # no base64, or no text
        return ""
