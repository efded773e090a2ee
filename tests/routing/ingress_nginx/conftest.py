"""A world of nginx-class Ingresses: write them briefly, ask what happens to a request."""

import base64
from typing import Any

import pytest

from fairlead.routing import outcome, settings, table, translate

PREFIX = "nginx.ingress.kubernetes.io/"


class World:
    """Objects so far, and what they become."""

    def __init__(self) -> None:
        self.services: list[dict[str, Any]] = []
        self.ingresses: list[dict[str, Any]] = []
        self.secrets: list[dict[str, Any]] = []
        self.config_maps: list[dict[str, Any]] = []
        self._translation: translate.Translation | None = None

    def service(self, name: str, *ports: int, namespace: str = "default", **spec: Any) -> None:
        number = len(self.services) + 1
        self.services.append(
            {
                "kind": "Service",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {
                    "clusterIP": f"127.96.{number // 250}.{number % 250 + 1}",
                    "ports": [{"port": port, "name": f"p{port}"} for port in ports or (80,)],
                    **spec,
                },
            }
        )

    def ingress(
        self,
        name: str,
        host: str,
        *paths: tuple[str, str, str],
        annotations: dict[str, Any] | None = None,
        namespace: str = "default",
        tls: bool = False,
        **spec: Any,
    ) -> dict[str, Any]:
        """Paths are (path, pathType, Service); Services are made when they are not there."""
        for _, _, service in paths:
            if not any(
                s["metadata"]["name"] == service and s["metadata"]["namespace"] == namespace for s in self.services
            ):
                self.service(service, namespace=namespace)
        backends = [
            {"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}}
            for path, kind, service in paths
        ]
        made = {
            "kind": "Ingress",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "creationTimestamp": f"2026-01-01T00:{len(self.ingresses) // 60:02}:{len(self.ingresses) % 60:02}Z",
                "annotations": {PREFIX + key: value for key, value in (annotations or {}).items()},
            },
            "spec": {
                "ingressClassName": "nginx",
                **({"rules": [{"host": host, "http": {"paths": backends}}]} if paths else {}),
                **spec,
            },
        }
        if tls:
            made["spec"]["tls"] = [{"hosts": [host], "secretName": "tls"}]
        self.ingresses.append(made)
        return made

    def secret(self, name: str, *, namespace: str = "default", **data: str) -> None:
        encoded = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.secrets.append({"kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "data": encoded})

    def config(self, **data: str) -> None:
        """The controller's ConfigMap; _ stands for -."""
        self.config_map("ingress-nginx-controller", namespace="ingress-nginx", **data)

    def config_map(self, name: str, *, namespace: str = "default", **data: str) -> None:
        meta = {"namespace": namespace, "name": name}
        data = {key.replace("_", "-"): value for key, value in data.items()}
        self.config_maps.append({"kind": "ConfigMap", "metadata": meta, "data": data})

    def translate(self) -> translate.Translation:
        snapshot = translate.Snapshot(
            services=self.services, ingresses=self.ingresses, secrets=self.secrets, config_maps=self.config_maps
        )
        default = table.Certificate(
            id="@default", chain_pem="-----BEGIN CERTIFICATE-----", key_pem="-----BEGIN PRIVATE KEY-----"
        )
        where = settings.Settings(ingress_nginx=True, default_certificate=default)
        return translate.translate(snapshot, where)

    def ask(self, url: str, **request: Any) -> outcome.Outcome:
        """What happens to a request for http(s)://HOST/PATH."""
        scheme, _, rest = url.partition("://")
        host, slash, uri = rest.partition("/")
        one = outcome.Request(host=host, uri=slash + uri or "/", scheme=scheme, **request)
        return outcome.of(self.translate().structure, f"edge-{scheme}", one)

    def goes(self, url: str, **request: Any) -> str:
        """The outcome in brief: `SERVICE URI`, `STATUS` or `STATUS LOCATION`."""
        found = self.ask(url, **request)
        if found.status:
            return f"{found.status} {found.location}".strip()
        names = [name.partition("/")[2].partition(":")[0] for name, _ in found.backends]
        return f"{'+'.join(names)} {found.uri}"

    def route(self, url: str, **request: Any) -> table.Route:
        """The Route that answers."""
        found = self.ask(url, **request).route
        assert found is not None
        return found

    def problems(self) -> list[str]:
        """Problems of Ingresses, in brief."""
        return [
            f"{p.reason} {p.object} {p.path.replace(PREFIX, '')}"
            for p in self.translate().problems
            if p.object.startswith(("Ingress", "ConfigMap"))
        ]


@pytest.fixture
def world() -> World:
    return World()
