"""A new pod counts for a rollout when the planes serve it, and no later than a few seconds after it was ready."""

from typing import Any

from fairlead.api import kinds
from fairlead.controllers import serving_gate
from fairlead.routing import table
from fairlead.testing import workloads

Object = dict[str, Any]
SERVICE: Object = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}


def endpoints(*addresses: str) -> list[table.BackendEndpoints]:
    found = tuple(table.Endpoint(address=address, port=8080) for address in addresses)
    return [table.BackendEndpoints(backend="default/web:80", endpoints=found)]


async def status(cluster: workloads.FakeCluster) -> tuple[int, int]:
    found = (await cluster.client.get(kinds.DEPLOYMENT, "web", namespace="default")).get("status") or {}
    return found.get("readyReplicas", 0), found.get("availableReplicas", 0)


async def start(cluster: workloads.FakeCluster) -> list[str]:
    await cluster.client.create(kinds.SERVICE, SERVICE, namespace="default")
    await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment(replicas=2))
    await cluster.settle(0.5)
    return [pod["status"]["podIP"] for pod in await cluster.pods()]


async def test_a_ready_pod_is_available_at_the_ack_of_the_planes() -> None:
    gate = serving_gate.Gate()
    async with workloads.FakeCluster(gate=gate) as cluster:
        first, second = await start(cluster)
        assert await status(cluster) == (2, 0)
        gate.acked(endpoints(first))
        await cluster.settle(0.1)
        assert await status(cluster) == (2, 1)
        gate.acked(endpoints(first, second))
        await cluster.settle(0.1)
        assert await status(cluster) == (2, 2)


async def test_planes_that_never_ack_hold_nothing_up_for_long() -> None:
    async with workloads.FakeCluster(gate=serving_gate.Gate()) as cluster:
        await start(cluster)
        assert await status(cluster) == (2, 0)
        await cluster.settle(serving_gate.MOST_SECONDS)
        assert await status(cluster) == (2, 2)


async def test_a_pod_that_no_service_selects_is_available_when_it_is_ready() -> None:
    async with workloads.FakeCluster(gate=serving_gate.Gate()) as cluster:
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment(replicas=2))
        await cluster.settle(0.5)
        assert await status(cluster) == (2, 2)


async def test_a_rollout_takes_no_old_pod_away_before_the_new_one_is_served() -> None:
    gate = serving_gate.Gate()
    async with workloads.FakeCluster(gate=gate) as cluster:
        addresses = await start(cluster)
        gate.acked(endpoints(*addresses))
        await cluster.settle(5)
        template = workloads.deployment(image="web:2")["spec"]["template"]
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        change = {"spec": {"template": template, "strategy": strategy}}
        await cluster.client.patch(kinds.DEPLOYMENT, "web", change, namespace="default")
        await cluster.settle(1)
        old = [pod for pod in await cluster.pods() if pod["spec"]["containers"][0]["image"] == "web:1"]
        assert len(old) == 2
        fresh = [pod["status"]["podIP"] for pod in await cluster.pods() if pod not in old]
        gate.acked(endpoints(*addresses, *fresh))
        await cluster.settle(0.3)
        left = [pod for pod in await cluster.pods() if pod["spec"]["containers"][0]["image"] == "web:1"]
        assert len(left) == 1


def test_an_address_that_leaves_every_backend_is_served_no_more() -> None:
    gate = serving_gate.Gate()
    gate.acked(endpoints("10.0.0.1", "10.0.0.2"))
    gate.acked(endpoints("10.0.0.2"))
    assert (gate.serves("10.0.0.1"), gate.serves("10.0.0.2")) == (False, True)
