"""A cluster without nodes or traffic: API server in memory, the real controllers, a node agent that runs nothing."""

from __future__ import annotations

import random
from typing import Any

from fairlead.api import kinds
from fairlead.client import exchange, inprocess, protocol
from fairlead.controllers import suite
from fairlead.testing import apiserver, clock, kubelet

Object = dict[str, Any]


class FakeCluster:
    """`async with FakeCluster() as cluster:` and then `cluster.client`. Time moves with `cluster.clock.advance`."""

    def __init__(self, **options: Any) -> None:
        self.clock = clock.FakeClock()
        self.server = apiserver.FakeApiServer(clock=self.clock)
        self.client: protocol.Client = self.server.client()
        self.failures: list[tuple[str, BaseException]] = []
        self.kubelet = kubelet.FakeKubelet(self.client, clock=self.clock, on_failure=self._failed)
        self.door: exchange.Exchange = self.server  # what the controllers ask
        self._options = options
        self.suite = self._suite()

    def _suite(self) -> suite.ControllerSuite:
        return suite.ControllerSuite(
            self._client_for, clock=self.clock, rng=random.Random(1), on_failure=self._failed, **self._options
        )

    def _client_for(self, name: str) -> protocol.Client:
        return inprocess.client(lambda request: self.door(request), inprocess.service_account(name))

    def use(self, **options: Any) -> None:
        """Changes what the controllers are given; before the cluster starts."""
        self._options.update(options)
        self.suite = self._suite()

    def _failed(self, name: str, error: BaseException) -> None:
        self.failures.append((name, error))

    async def __aenter__(self) -> FakeCluster:
        self.kubelet.start()
        await self.suite.start()
        await self.suite.synced()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.suite.close()
        await self.kubelet.close()
        assert not self.failures, self.failures

    async def restart(self) -> None:
        """Ends the controllers wherever they are, and starts new ones that know nothing."""
        await self.suite.close()
        self.suite = self._suite()
        await self.suite.start()
        await self.suite.synced()

    async def settle(self, seconds: float = 0.2) -> None:
        """Lets everything happen that happens within that time."""
        await self.clock.advance(seconds)
        await clock.settle(200)

    async def pods(self, selector: str = "", *, namespace: str = "default") -> list[Object]:
        return (await self.client.list(kinds.POD, namespace=namespace, label_selector=selector)).items


def deployment(name: str = "web", *, replicas: int = 3, image: str = "web:1", **spec: Any) -> Object:
    """A Deployment of one container; `spec` adds to or replaces fields of its spec."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
            **spec,
        },
    }


def workload(kind: str, name: str = "web", *, image: str = "web:1", **spec: Any) -> Object:
    """A StatefulSet, DaemonSet or Job of one container."""
    body = deployment(name, image=image)
    template = body["spec"]["template"]
    if kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
        template.pop("metadata")
        return {"metadata": {"name": name, "namespace": "default"}, "spec": {"template": template, **spec}}
    made = {"selector": body["spec"]["selector"], "template": template, **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": made}


def node(name: str = kubelet.NODE, **more: Any) -> Object:
    """A Node with its usual labels."""
    labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
    return {"metadata": {"name": name, "labels": labels}, "spec": more}
