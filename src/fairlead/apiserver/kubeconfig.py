"""Writes the kubeconfig of a local cluster: server, CA, token. 0600, replaced as a whole."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from fairlead.base import secret


def render(*, name: str, server: str, ca_pem: bytes, token: secret.Secret) -> str:
    """The file's text: YAML, written as JSON is valid YAML."""
    ca = base64.b64encode(ca_pem).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": f"{name}-admin", "user": {"token": token.reveal()}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin", "namespace": "default"}}],
        "current-context": name,
    }
    return json.dumps(config, indent=2) + "\n"


def write(path: Path, *, name: str, server: str, ca_pem: bytes, token: secret.Secret) -> None:
    """Writes the file; readers see the old one or the new one."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(render(name=name, server=server, ca_pem=ca_pem, token=token))
    temporary.replace(path)
