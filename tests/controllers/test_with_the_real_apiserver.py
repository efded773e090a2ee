"""The controllers live within the real API server: its RBAC, validation, defaults, admission and store."""

import asyncio
import contextlib
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.base import clock as clocks
from fairlead.client import errors, inprocess, protocol
from fairlead.controllers import permissions, suite
from fairlead.controllers.autoscaling import metrics, serving
from fairlead.store import sqlite
from fairlead.testing import kubelet, load, workloads

Object = dict[str, Any]


class Cluster:
    """The real API server and controllers, and a node agent that runs nothing."""

    def __init__(self, folder: Path) -> None:
        self.store = sqlite.SqliteStore(folder / "store.db")
        config = server.ApiServerConfig(state_folder=folder, node_name=kubelet.NODE, controller_rules=permissions.RULES)
        self.config = config
        self.failures: list[str] = []

    async def start(self) -> None:
        await self.store.open()
        self.api = server.ApiServer(self.store, self.config)
        await self.api.start()
        clock = clocks.SystemClock()
        self.client: protocol.Client = inprocess.client(self.api.exchange, server.ADMIN)
        self.kubelet = kubelet.FakeKubelet(self.client, clock=clock, on_failure=self.failed)
        self.suite = suite.ControllerSuite(
            inprocess.clients_for_controllers(self.api.exchange),
            clock=clock,
            rng=random.Random(1),
            on_failure=self.failed,
            root_ca_pem=self.api.ca_pem.decode(),
        )
        with contextlib.suppress(errors.ApiError):
            await self.client.create(kinds.NODE, workloads.node())
        self.kubelet.start()
        await self.suite.start()
        await asyncio.wait_for(self.suite.synced(), 10)

    def failed(self, name: str, error: BaseException) -> None:
        self.failures.append(f"{name}: {error!r}")

    async def close(self) -> None:
        await self.suite.close()
        await self.kubelet.close()
        await self.api.close()
        await self.store.close()
        assert self.failures == []

    async def until(self, true: Callable[[], Awaitable[bool]], *, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not await true():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s; failing: {self.suite.failures}")
            await asyncio.sleep(0.005)

    async def pods(self) -> list[Object]:
        return (await self.client.list(kinds.POD, namespace="default")).items


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    await made.start()
    yield made
    await made.close()


async def complete(cluster: Cluster, replicas: int) -> bool:
    found = await cluster.client.get(kinds.DEPLOYMENT, "web", namespace="default")
    status = found.get("status") or {}
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return counts == [replicas] * 3 and status.get("observedGeneration") == found["metadata"]["generation"]


async def test_the_life_of_a_deployment(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(kinds.DEPLOYMENT, workloads.deployment())
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
    await client.create(kinds.SERVICE, service, namespace="default")
    await cluster.until(lambda: complete(cluster, 3))
    await client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 5}}, namespace="default", subresource="scale")
    await cluster.until(lambda: complete(cluster, 5))
    template = workloads.deployment(image="web:2")["spec"]["template"]
    await client.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": template}}, namespace="default")
    await cluster.until(lambda: complete(cluster, 5))

    async def sliced() -> bool:
        found = (
            await client.list(
                kinds.ENDPOINT_SLICE, namespace="default", label_selector="kubernetes.io/service-name=web"
            )
        ).items
        ready = [one for piece in found for one in piece["endpoints"] or () if one["conditions"]["ready"]]
        return len(ready) == 5

    await cluster.until(sliced)
    await client.delete(kinds.DEPLOYMENT, "web", namespace="default", propagation="Foreground")

    async def gone() -> bool:
        sets = await client.list(kinds.REPLICA_SET, namespace="default")
        deployments = await client.list(kinds.DEPLOYMENT, namespace="default")
        return not (await cluster.pods()) and not sets.items and not deployments.items

    await cluster.until(gone)
    assert cluster.suite.failures == {}


async def test_the_other_workloads(cluster: Cluster) -> None:
    client = cluster.client
    cluster.kubelet.outcome = lambda pod: (0.1, 0) if "job-name" in pod["metadata"]["labels"] else None
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    stateful = workloads.workload("StatefulSet", "db", replicas=2, serviceName="db", volumeClaimTemplates=[claim])
    mounts = [{"name": "data", "mountPath": "/data"}]  # of a volume that only the claim makes
    stateful["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts
    await client.create(kinds.STATEFUL_SET, stateful)
    await client.create(kinds.DAEMON_SET, workloads.workload("DaemonSet", "agent"))
    await client.create(kinds.JOB, workloads.workload("Job", "work", completions=3, parallelism=2))
    cron = {"schedule": "*/1 * * * *", "jobTemplate": {"spec": workloads.workload("Job")["spec"]}}
    await client.create(kinds.CRON_JOB, {"metadata": {"name": "tick"}, "spec": cron}, namespace="default")
    budget = {"metadata": {"name": "db"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "db"}}}}
    await client.create(kinds.POD_DISRUPTION_BUDGET, budget, namespace="default")

    async def there() -> bool:
        db = await client.get(kinds.STATEFUL_SET, "db", namespace="default")
        agent = await client.get(kinds.DAEMON_SET, "agent", namespace="default")
        job = await client.get(kinds.JOB, "work", namespace="default")
        allowed = await client.get(kinds.POD_DISRUPTION_BUDGET, "db", namespace="default")
        return (
            db["status"].get("availableReplicas") == 2
            and agent["status"].get("numberAvailable") == 1
            and job["status"].get("succeeded") == 3
            and bool(job["status"].get("completionTime"))
            and allowed["status"].get("disruptionsAllowed") == 1
        )

    await cluster.until(there)
    assert cluster.suite.failures == {}


async def test_why_a_pod_has_no_node_is_told_once(cluster: Cluster) -> None:
    await cluster.kubelet.close()  # it would run whatever there is
    spec = {"containers": [{"name": "c", "image": "x"}], "nodeSelector": {"disk": "ssd"}}
    made = await cluster.client.create(kinds.POD, {"metadata": {"name": "p"}, "spec": spec}, namespace="default")
    await cluster.client.patch(kinds.POD, "p", {"metadata": {"labels": {"a": "b"}}}, namespace="default")

    async def told() -> list[Object]:
        events = (await cluster.client.list(kinds.EVENT, namespace="default")).items
        return [one for one in events if one["reason"] == "FailedScheduling"]

    async def is_told() -> bool:
        return bool(await told())

    await cluster.until(is_told)
    (event,) = await told()
    assert event["message"] == "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    assert event["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert event["source"]["component"] == "default-scheduler" and event.get("count", 1) == 1


async def test_an_autoscaler_and_a_namespace(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
    body = workloads.deployment()
    body["metadata"]["namespace"] = "team"

    async def created() -> bool:
        with contextlib.suppress(errors.ApiError):
            await client.create(kinds.DEPLOYMENT, body)
            return True
        return False

    await cluster.until(created)
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "minReplicas": 5, "maxReplicas": 9, "metrics": [metric]}
    await client.create(kinds.HPA, {"metadata": {"name": "web"}, "spec": spec}, namespace="team")

    async def scaled() -> bool:
        found = await client.get(kinds.HPA, "web", namespace="team")
        return bool((found.get("status") or {}).get("currentReplicas") == 5)

    await cluster.until(scaled)
    await client.delete(kinds.NAMESPACE, "team")

    async def gone() -> bool:
        return "team" not in {one["metadata"]["name"] for one in (await client.list(kinds.NAMESPACE)).items}

    await cluster.until(gone)
    assert cluster.suite.failures == {}


async def test_kubectl_top_reads_the_metrics_of_the_controllers(cluster: Cluster, tmp_path: Path) -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment(replicas=1))
    await cluster.until(lambda: complete(cluster, 1))
    (pod,) = await cluster.pods()
    source = load.FakeLoad(clocks.SystemClock(), serving=lambda: [pod["metadata"]["name"]])
    source.cores = 0.25
    made = serving.MetricsApis(
        pods=cluster.suite.informers.of(kinds.POD).cache,
        nodes=cluster.suite.informers.of(kinds.NODE).cache,
        usage=source,
        traffic=metrics.NoMetrics(),
        clock=clocks.SystemClock(),
        window_seconds=5,
    )
    cluster.api.registry.mounted.update(made.groups())
    cluster.api.write_kubeconfig(tmp_path / "kubeconfig")
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        program, "top", "pods", "--no-headers", env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().split() == [pod["metadata"]["name"], "250m", "47Mi"]


async def test_custom_resources_are_owners_dependents_and_content_of_namespaces(cluster: Cluster) -> None:
    client = cluster.client
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {"metadata": {"name": "things.example.com"}, "spec": spec}
    await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition)
    thing = kinds.Kind("example.com", "v1", "Thing", "things")
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})

    async def created() -> bool:
        with contextlib.suppress(errors.ApiError):
            await client.create(thing, {"metadata": {"name": "owner"}}, namespace="team")
            return True
        return False

    await cluster.until(created)
    owner = await client.get(thing, "owner", namespace="team")
    reference = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "owner", "uid": owner["metadata"]["uid"]}
    metadata = {"name": "child", "ownerReferences": [reference]}
    await client.create(kinds.CONFIG_MAP, {"metadata": metadata}, namespace="team")
    await client.create(thing, {"metadata": metadata}, namespace="team")
    await asyncio.sleep(0.3)
    await client.delete(thing, "owner", namespace="team", propagation="Background")

    async def collected() -> bool:
        maps = [one["metadata"]["name"] for one in (await client.list(kinds.CONFIG_MAP, namespace="team")).items]
        return "child" not in maps and not (await client.list(thing, namespace="team")).items

    await cluster.until(collected)
    await client.create(thing, {"metadata": {"name": "last"}}, namespace="team")
    await client.delete(kinds.NAMESPACE, "team")

    async def gone() -> bool:
        return "team" not in {one["metadata"]["name"] for one in (await client.list(kinds.NAMESPACE)).items}

    await cluster.until(gone)
    await client.delete(kinds.CUSTOM_RESOURCE_DEFINITION, "things.example.com")
    await cluster.until(lambda: settled(cluster))


async def settled(cluster: Cluster) -> bool:
    return cluster.suite.failures == {} and cluster.suite.informers.problems() == []
