"""The example application under traffic: balanced, scaled, killed, unready, burning; in every network mode."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.cli import addresses
from fairlead.client import protocol
from fairlead.node import shim
from tests.system import load, local

pytestmark = pytest.mark.system
LABELS = "app=my-app"
Object = dict[str, Any]


async def service_place(my_app: local.Local, client: protocol.Client) -> tuple[str, int]:
    """Where the Service is reached: its address and the port it is carried at."""
    service = await client.get(kinds.SERVICE, "my-app-service", namespace="default")
    return service["spec"]["clusterIP"], addresses.carried_port(my_app.state.read(), 80)


async def steady(client: protocol.Client, replicas: int) -> list[str]:
    """Returns the pods' names once exactly so many are ready and no other is left."""
    pods = await asyncio.wait_for(
        local.until(client, kinds.POD, lambda found: len(found) == len(local.ready(found)) == replicas, labels=LABELS),
        60,
    )
    return local.ready(pods)


async def scale(client: protocol.Client, replicas: int) -> None:
    await client.patch(kinds.DEPLOYMENT, "my-app", {"spec": {"replicas": replicas}}, namespace="default")


@pytest.fixture
async def client(my_app: local.Local):  # type: ignore[no-untyped-def]
    """A client of the cluster, whose application has its three replicas and no autoscaler in the way."""
    async with my_app.client() as found:
        for hpa in (await found.list(kinds.HPA, namespace="default")).items:
            await found.delete(kinds.HPA, hpa["metadata"]["name"], namespace="default")
        await scale(found, 3)
        await steady(found, 3)
        yield found


async def answers(host: str, port: int, count: int, header: str, network: str = "") -> Counter[str]:
    """The bodies of so many requests, one after another, each over its own connection."""
    seen: Counter[str] = Counter()
    for _ in range(count):
        connection = load.Connection(host, port, network=network)
        status, body = await connection.get("/", host=header)
        connection.close()
        assert status == 200, body
        seen[body.strip()] += 1
    return seen


async def test_requests_that_follow_one_another_go_round_robin_through_the_ingress(
    my_app: local.Local, client: protocol.Client
) -> None:
    pods = await steady(client, 3)
    seen = await answers("127.0.0.1", my_app.edge_port, 300, "my-app.localhost")
    assert seen == Counter(dict.fromkeys(pods, 100))


async def test_requests_that_follow_one_another_go_round_robin_through_the_service(
    my_app: local.Local, client: protocol.Client
) -> None:
    pods = await steady(client, 3)
    host, port = await service_place(my_app, client)
    seen = await answers(host, port, 300, "my-app-service", my_app.within)
    assert seen == Counter(dict.fromkeys(pods, 100))


async def test_scaling_under_load_fails_no_request_and_new_pods_get_traffic(
    my_app: local.Local, client: protocol.Client
) -> None:
    before = set(await steady(client, 3))
    async with load.Load("127.0.0.1", my_app.edge_port, rate=200, header="my-app.localhost") as running:
        await running.reaches(100)
        my_app.kubectl("scale", "deployment/my-app", "--replicas=5")
        grown = set(await steady(client, 5))
        for pod in grown - before:
            await asyncio.wait_for(running.sees(pod), 10)
        await running.reaches(200)
        my_app.kubectl("scale", "deployment/my-app", "--replicas=2")
        await steady(client, 2)
        await running.reaches(200)
    assert running.outcome.all_ok(), running.outcome.failures[:5]


async def test_a_killed_pod_fails_no_get_through_the_ingress_and_is_replaced(
    my_app: local.Local, client: protocol.Client
) -> None:
    await steady(client, 3)
    victim = await unhurt(client)
    async with load.Load("127.0.0.1", my_app.edge_port, rate=200, header="my-app.localhost") as running:
        await running.reaches(100)
        os.kill(await pid_of(my_app, victim), signal.SIGKILL)
        await asyncio.wait_for(restarted(client, victim), 60)
        await running.reaches(200)
    assert running.outcome.all_ok(), running.outcome.failures[:5]


async def test_a_killed_pod_fails_only_what_was_in_flight_on_it_through_the_service(
    my_app: local.Local, client: protocol.Client
) -> None:
    await steady(client, 3)
    host, port = await service_place(my_app, client)
    victim = await unhurt(client)
    how = {"header": "my-app-service", "fresh_share": 1.0, "network": my_app.within}
    async with load.Load(host, port, rate=200, **how) as running:
        await running.reaches(100)
        os.kill(await pid_of(my_app, victim), signal.SIGKILL)
        await asyncio.wait_for(restarted(client, victim), 60)
        await running.reaches(200)
    # Until the death is seen (milliseconds), a connection may still be given to the dead pod.
    assert running.outcome.answered + len(running.outcome.failures) == running.outcome.due
    assert running.outcome.statuses == Counter({200: running.outcome.answered})
    assert len(running.outcome.failures) <= 10, running.outcome.failures


async def unhurt(client: protocol.Client) -> Object:
    """A pod that died as rarely as any other: the back-off before a second restart is ten seconds."""
    pods = (await client.list(kinds.POD, namespace="default", label_selector=LABELS)).items
    return min(pods, key=restarts)


async def pid_of(my_app: local.Local, pod: Object) -> int:
    """The process that answers in the pod, as its shim knows it."""
    connection = await shim.connect(my_app.state.pods / pod["metadata"]["uid"])
    try:
        state = await connection.request("state")
    finally:
        await connection.close()
    return int(state["containers"]["my-app"]["pid"])


async def restarted(client: protocol.Client, victim: Object) -> None:
    """Returns when the pod's container runs again or another pod has taken its place, and three are ready."""
    name = victim["metadata"]["name"]
    before = restarts(victim)

    def replaced(pods: list[Object]) -> bool:
        mine = [pod for pod in pods if pod["metadata"]["name"] == name]
        again = not mine or restarts(mine[0]) > before
        return again and len(local.ready(pods)) == 3

    await local.until(client, kinds.POD, replaced, labels=LABELS)


def restarts(pod: Object) -> int:
    return sum(status.get("restartCount", 0) for status in pod.get("status", {}).get("containerStatuses", ()))


async def test_an_unready_pod_leaves_within_two_probe_periods_and_comes_back(
    my_app: local.Local, client: protocol.Client
) -> None:
    pods = await steady(client, 3)
    clock = asyncio.get_running_loop().time
    victim, since = await ask(my_app, "/unready"), clock()
    seen: list[str] = []
    while victim in seen[-30:] or len(seen) < 30:
        seen.append(await ask(my_app, "/"))
    assert clock() - since < 2 * 2 + 0.5  # periodSeconds 2, failureThreshold 2
    rest = Counter([await ask(my_app, "/") for _ in range(60)])
    assert rest == Counter({pod: 30 for pod in pods if pod != victim})
    found = await client.get(kinds.POD, victim, namespace="default")
    assert victim not in local.ready([found])
    connection = load.Connection(found["status"]["podIP"], await pod_port(client, victim), network=my_app.within)
    await connection.get("/ready")
    connection.close()
    assert await steady(client, 3) == pods
    while victim not in seen[-3:]:
        seen.append(await ask(my_app, "/"))


async def ask(my_app: local.Local, path: str) -> str:
    """Who answers one request through the Ingress."""
    connection = load.Connection("127.0.0.1", my_app.edge_port)
    status, body = await connection.get(path, host="my-app.localhost")
    connection.close()
    assert status == 200, body
    return body.strip()


async def pod_port(client: protocol.Client, name: str) -> int:
    """The port that the pod really listens on, as its EndpointSlice says."""
    for item in (await client.list(kinds.ENDPOINT_SLICE, namespace="default")).items:
        if any((endpoint.get("targetRef") or {}).get("name") == name for endpoint in item.get("endpoints", ())):
            return int(item["ports"][0]["port"])
    raise AssertionError(f"{name} is in no EndpointSlice")


HPA: Object = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "my-app"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "my-app"},
        "minReplicas": 3,
        "maxReplicas": 6,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 2}},
    },
}


async def test_burning_cpu_adds_replicas_that_get_requests_and_calm_takes_them_away(
    my_app: local.Local, client: protocol.Client
) -> None:
    before = set(await steady(client, 3))
    await client.create(kinds.HPA, HPA, namespace="default")
    edge = ("127.0.0.1", my_app.edge_port)
    async with load.Load(*edge, rate=30, path="/burn", header="my-app.localhost") as running:
        pods = await asyncio.wait_for(
            local.until(client, kinds.POD, lambda found: len(local.ready(found)) > 3, labels=LABELS), 60
        )
        for pod in set(local.ready(pods)) - before:
            await asyncio.wait_for(running.sees(pod), 20)
    assert running.outcome.all_ok(), running.outcome.failures[:5]
    await steady(client, 3)
