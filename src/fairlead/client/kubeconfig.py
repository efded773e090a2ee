"""A kubeconfig, read to what a transport needs: server, trust, credentials.

Follows kubectl's file format (client-go `clientcmd/api/v1`): `current-context`, inline `*-data` before files,
relative files beside the kubeconfig, `tokenFile` re-read when it changes. Refused with `KubeconfigError`, never
ignored: exec and auth-provider plugins, impersonation, proxies, password authentication.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.base import secret

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(Exception):
    """The file cannot be used; the message says which entry and what to do."""


@dataclass(frozen=True, slots=True)
class Config:
    """How to reach one API server as one user."""

    server: str
    ca_pem: bytes = b""
    insecure: bool = False
    server_name: str = ""
    token: secret.Secret | None = None
    token_file: Path | None = None
    certificate_pem: bytes = b""
    key_pem: bytes = field(default=b"", repr=False)
    namespace: str = "default"


def find(environment: Mapping[str, str]) -> Path:
    """The file kubectl would use. The first of $KUBECONFIG's list that exists, else ~/.kube/config."""
    listed = [Path(part) for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    existing = [path for path in listed if path.exists()]
    return (existing or listed or [Path(environment.get("HOME", "/")) / ".kube" / "config"])[0]


def load(path: Path, *, context: str = "") -> Config:
    """The Config of a context (the current one by default). Raises KubeconfigError."""
    import yaml  # lazy: only commands that read a kubeconfig pay for it

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise KubeconfigError(f"{path}: is not a kubeconfig")
    return parse(document, folder=path.parent, context=context, source=str(path))


def parse(document: dict[str, Any], *, folder: Path, context: str = "", source: str = "kubeconfig") -> Config:
    """The Config in a decoded kubeconfig. Raises KubeconfigError."""
    name = context or document.get("current-context") or ""
    if not name:
        raise KubeconfigError(f"{source}: current-context is not set")
    chosen = _entry(document, "contexts", name, source)["context"]
    cluster = _entry(document, "clusters", chosen.get("cluster", ""), source)["cluster"]
    user = _entry(document, "users", chosen["user"], source)["user"] if chosen.get("user") else {}
    _refuse(cluster, ("proxy-url",), f"{source}: clusters[{chosen['cluster']}]")
    _refuse(
        user, ("exec", "auth-provider", "username", "password", "as", "as-groups"), f"{source}: users[{chosen['user']}]"
    )
    if not cluster.get("server"):
        raise KubeconfigError(f"{source}: clusters[{chosen['cluster']}].server is not set")
    token_file = user.get("tokenFile")
    return Config(
        server=str(cluster["server"]).rstrip("/"),
        ca_pem=_data(cluster, "certificate-authority", folder, source),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name", ""),
        token=secret.Secret(user["token"]) if user.get("token") else None,
        token_file=folder / token_file if token_file and not user.get("token") else None,
        certificate_pem=_data(user, "client-certificate", folder, source),
        key_pem=_data(user, "client-key", folder, source),
        namespace=chosen.get("namespace") or "default",
    )


def in_cluster(environment: Mapping[str, str], *, folder: Path = SERVICE_ACCOUNT) -> Config:
    """The Config of a pod's own ServiceAccount. Raises KubeconfigError outside a cluster."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (folder / "token").exists():
        raise KubeconfigError("not in a cluster: KUBERNETES_SERVICE_HOST or the ServiceAccount's token is missing")
    namespace = folder / "namespace"
    return Config(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_pem=(folder / "ca.crt").read_bytes(),
        token_file=folder / "token",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )


def _entry(document: dict[str, Any], section: str, name: str, source: str) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    raise KubeconfigError(f"{source}: {section} has no entry {name!r}")


def _refuse(entry: dict[str, Any], fields: tuple[str, ...], where: str) -> None:
    for name in fields:
        if entry.get(name):
            raise KubeconfigError(f"{where}.{name}: is not supported; use a token or a client certificate")


def _data(entry: dict[str, Any], name: str, folder: Path, source: str) -> bytes:
    if entry.get(f"{name}-data"):
        try:
            return base64.b64decode(entry[f"{name}-data"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{source}: {name}-data: {error}") from error
    if not entry.get(name):
        return b""
    try:
        return (folder / str(entry[name])).read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{source}: {name}: {error}") from error
