"""An application `web` of a test's own, as a user would have it: Deployment, Service, Ingress and image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml


def write(
    folder: Path,
    server: str,
    *,
    host: str,
    image: str,
    ports: list[dict[str, Any]],
    deployment: dict[str, Any],
    pod: dict[str, Any] | None = None,
) -> Path:
    """Writes the manifests and `fairlead.yaml`; returns the folder. `server` is the program in Python, which listens at
    $HOST:$PORT and finds a place to note things in $SEEN; `deployment` and `pod` are more of those two specs."""
    container = {
        "name": "web",
        "image": image,
        "ports": [{"containerPort": 8080}],
        "env": [{"name": "SEEN", "value": str(folder / "seen")}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    labels, meta = {"app": "web"}, {"name": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **(pod or {})}}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    objects = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
         "spec": {"selector": {"matchLabels": labels}, "template": template, **deployment}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": ports}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": {"rules": [rule]}},
    ]  # fmt: skip
    (folder / "server.py").write_text(server)
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    images = {"images": {"web:*": {"command": [sys.executable, "-I", "-S", str(folder / "server.py")]}}}
    (folder / "fairlead.yaml").write_text(yaml.safe_dump(images))
    return folder
