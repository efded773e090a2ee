"""The application of the cluster benchmarks: `loadgen app` as a pod, and its manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from bench import load

Object = dict[str, Any]


class App(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment with a Service and an Ingress of the same name (host NAME.localhost)."""

    name: str = "app"
    replicas: int = 3
    start_ms: int = 0
    protocol: str = ""  # appProtocol of the Service's port
    grace_seconds: int = 30
    probe_seconds: int = 1
    annotations: dict[str, str] = {}  # of the Service
    pod_annotations: dict[str, str] = {}
    cpu: str = "100m"

    @property
    def host(self) -> str:
        """The Ingress' host."""
        return f"{self.name}.localhost"

    def objects(self) -> list[Object]:
        """The manifests."""
        return [self._deployment(), self.service(), self.ingress()]

    def _deployment(self) -> Object:
        labels = {"app": self.name}
        container = {
            "name": "app",
            "image": "bench-app:1",
            "ports": [{"containerPort": 8080}],
            "env": [{"name": "START_MS", "value": str(self.start_ms)}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": self.probe_seconds},
            "resources": {"requests": {"cpu": self.cpu}},
        }
        pod = {"terminationGracePeriodSeconds": self.grace_seconds, "containers": [container]}
        template = {"metadata": {"labels": labels, "annotations": dict(self.pod_annotations)}, "spec": pod}
        spec = {"replicas": self.replicas, "selector": {"matchLabels": labels}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": self._metadata(), "spec": spec}

    def service(self) -> Object:
        """The Service alone."""
        port: Object = {"port": 80, "targetPort": 8080}
        if self.protocol:
            port["appProtocol"] = self.protocol
        metadata = {**self._metadata(), "annotations": dict(self.annotations)}
        spec = {"selector": {"app": self.name}, "ports": [port]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    def ingress(self) -> Object:
        """The Ingress alone."""
        backend = {"service": {"name": self.name, "port": {"number": 80}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        spec = {"rules": [{"host": self.host, "http": {"paths": paths}}]}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": self._metadata(), "spec": spec}

    def _metadata(self) -> Object:
        return {"name": self.name, "labels": {"app": self.name}}


def autoscaler(name: str, metric: Object, *, behavior: Object | None = None, most: int = 10) -> Object:
    """An HPA for the Deployment of that name, 1 to `most` replicas."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    spec: Object = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": most, "metrics": [metric]}
    if behavior:
        spec["behavior"] = behavior
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": spec}


def write(folder: Path, objects: list[Object], *, command: tuple[str, ...] = ()) -> Path:
    """Manifests and image map in a folder that `fairlead up` takes. `command` runs the image; else `loadgen app`
    does."""
    manifests = "\n---\n".join(json.dumps(one) for one in objects)
    (folder / "manifests.yaml").write_text(manifests)
    runs = list(command or (load.binary(), "app"))
    (folder / "fairlead.yaml").write_text(json.dumps({"images": {"bench-app:*": {"command": runs}}}))
    return folder
