"""Pods and Services as the API keeps them: placement, grace, eviction, binding, "
"addresses, proxy, the API's own Service."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import addresses, server
from fairlead.apiserver.behaviours import services
from fairlead.client import errors, exchange, rest
from fairlead.testing import pod_door

from . import kubectl


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app": "a"}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "nginx"}], **spec}}


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}], **spec}}


async def post(api: server.ApiServer, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = await api.exchange(exchange.Request("POST", path, (), {}, json.dumps(body).encode(), server.ADMIN))
    return answer.status, json.loads(answer.body)


async def test_a_pod_is_defaulted_and_placed(client: rest.RestClient) -> None:
    made = await client.create(kinds.POD, pod(), namespace="default")
    spec = made["spec"]
    assert (
        spec["nodeName"] == "node-1" and spec["restartPolicy"] == "Always" and spec["serviceAccountName"] == "default"
    )
    assert spec["containers"][0]["imagePullPolicy"] == "Always" and made["status"] == {
        "phase": "Pending",
        "qosClass": "BestEffort",
    }


async def test_a_pod_waits_for_a_node_that_takes_it(client: rest.RestClient) -> None:
    await client.create(kinds.NODE, {"metadata": {"name": "node-1"}, "spec": {"unschedulable": True}})
    made = await client.create(kinds.POD, pod(nodeSelector={"disk": "ssd"}), namespace="default")
    assert "nodeName" not in made["spec"]
    (condition,) = made["status"]["conditions"]
    assert condition["type"] == "PodScheduled" and condition["reason"] == "Unschedulable"
    assert condition["message"] == "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    await client.patch(kinds.NODE, "node-1", {"metadata": {"labels": {"disk": "ssd"}}, "spec": {"unschedulable": None}})
    events = client.watch(kinds.POD, namespace="default")
    async with asyncio.timeout(10):
        async for event in events:
            if event.object["spec"].get("nodeName") == "node-1":
                break
    await events.aclose()


async def test_a_pod_behind_gates_is_placed_when_the_last_is_taken_away(client: rest.RestClient) -> None:
    await client.create(kinds.NODE, {"metadata": {"name": "node-1"}})
    gates = [{"name": "example.com/a"}, {"name": "example.com/b"}]
    made = await client.create(kinds.POD, pod(schedulingGates=gates), namespace="default")
    assert "nodeName" not in made["spec"]
    assert made["status"]["conditions"][0]["reason"] == "SchedulingGated"
    left = {**made, "spec": {**made["spec"], "schedulingGates": gates[:1]}}
    left = await client.update(kinds.POD, left)
    assert "nodeName" not in left["spec"]
    with pytest.raises(errors.ApiError, match="only deletion is allowed, but found new scheduling gate"):
        await client.update(kinds.POD, {**left, "spec": {**left["spec"], "schedulingGates": gates}})
    with pytest.raises(errors.ApiError, match="pod updates may not change fields"):
        await client.update(kinds.POD, {**left, "spec": {**left["spec"], "nodeName": "node-1"}})
    spec = {name: value for name, value in left["spec"].items() if name != "schedulingGates"}
    assert (await client.update(kinds.POD, {**left, "spec": spec}))["spec"]["nodeName"] == "node-1"


async def test_deletion_gives_grace_and_force_does_not(client: rest.RestClient) -> None:
    await client.create(kinds.POD, pod(terminationGracePeriodSeconds=20), namespace="default")
    await client.delete(kinds.POD, "p", namespace="default")
    dying = await client.get(kinds.POD, "p", namespace="default")
    assert dying["metadata"]["deletionGracePeriodSeconds"] == 20 and dying["metadata"]["deletionTimestamp"]
    await client.delete(kinds.POD, "p", namespace="default", grace_seconds=5)
    assert (await client.get(kinds.POD, "p", namespace="default"))["metadata"]["deletionGracePeriodSeconds"] == 5
    await client.delete(kinds.POD, "p", namespace="default", grace_seconds=0)
    with pytest.raises(errors.ApiError, match="not found"):
        await client.get(kinds.POD, "p", namespace="default")


async def test_a_budget_decides_evictions(api: server.ApiServer, client: rest.RestClient) -> None:
    for name in ("p", "q"):
        await client.create(kinds.POD, pod(name), namespace="default")
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(kinds.POD, name, ready, namespace="default", subresource="status")
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}}
    await client.create(kinds.POD_DISRUPTION_BUDGET, budget, namespace="default")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    status, answer = await post(api, kinds.POD.path("default", "p", "eviction"), eviction)
    assert status == 429 and answer["details"]["causes"][0]["reason"] == "DisruptionBudget"
    state = {
        "disruptionsAllowed": 1,
        "observedGeneration": 1,
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "expectedPods": 2,
    }
    await client.patch(kinds.POD_DISRUPTION_BUDGET, "b", {"status": state}, namespace="default", subresource="status")
    assert (await post(api, kinds.POD.path("default", "p", "eviction"), eviction))[0] == 201
    evicted = await client.get(kinds.POD, "p", namespace="default")
    assert evicted["metadata"]["deletionTimestamp"]
    assert [one["reason"] for one in evicted["status"]["conditions"] if one["type"] == "DisruptionTarget"] == [
        "EvictionByEvictionAPI"
    ]
    second = {**eviction, "metadata": {"name": "q"}}
    assert (await post(api, kinds.POD.path("default", "q", "eviction"), second))[0] == 429


async def test_binding(api: server.ApiServer, client: rest.RestClient) -> None:
    await client.create(kinds.POD, pod(nodeSelector={"no": "where"}), namespace="default")
    binding = {"target": {"kind": "Node", "name": "other"}}
    assert (await post(api, kinds.POD.path("default", "p", "binding"), binding))[0] == 201
    status, answer = await post(api, kinds.POD.path("default", "p", "binding"), binding)
    assert status == 409 and "already assigned" in answer["message"]


async def test_service_addresses_are_given_and_freed(client: rest.RestClient) -> None:
    made = await client.create(kinds.SERVICE, service(type="NodePort"), namespace="default")
    address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    assert address.startswith("10.96.") and 30000 <= port <= 32767
    for wanted, message in (
        ({"clusterIP": address}, "already allocated"),
        ({"clusterIP": "8.8.8.8"}, "not in the valid range"),
        ({"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]}, "already allocated"),
        ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}, "not in the valid range"),
    ):
        with pytest.raises(errors.ApiError, match=message):
            await client.create(kinds.SERVICE, service("t", **wanted), namespace="default")
    with pytest.raises(errors.ApiError, match="may not change once set"):
        await client.patch(
            kinds.SERVICE, "s", {"spec": {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"]}}, namespace="default"
        )
    await client.delete(kinds.SERVICE, "s", namespace="default")
    again = await client.create(
        kinds.SERVICE,
        service("t", type="NodePort", clusterIP=address, ports=[{"port": 1, "nodePort": port}]),
        namespace="default",
    )
    assert again["spec"]["clusterIP"] == address


async def test_a_load_balancer_that_keeps_addresses_has_a_health_port_while_it_does(client: rest.RestClient) -> None:
    made = await client.create(
        kinds.SERVICE, service(type="LoadBalancer", externalTrafficPolicy="Local"), namespace="default"
    )
    port = made["spec"]["healthCheckNodePort"]
    assert 30000 <= port <= 32767 and port != made["spec"]["ports"][0]["nodePort"]

    async def patched(**spec: Any) -> dict[str, Any]:
        return (await client.patch(kinds.SERVICE, "s", {"spec": spec}, namespace="default"))["spec"]

    assert (await patched(sessionAffinity="ClientIP"))["healthCheckNodePort"] == port
    with pytest.raises(errors.ApiError, match="field is immutable"):
        await patched(healthCheckNodePort=port - 1 if port > 30000 else port + 1)
    with pytest.raises(errors.ApiError, match="provided port is already allocated"):
        wanted = {"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]}
        await client.create(kinds.SERVICE, service("thief", **wanted), namespace="default")
    assert "healthCheckNodePort" not in await patched(externalTrafficPolicy="Cluster")
    assert (await patched(externalTrafficPolicy="Local", healthCheckNodePort=port))["healthCheckNodePort"] == port
    plain = await patched(type="ClusterIP")
    gone = ("healthCheckNodePort", "externalTrafficPolicy", "allocateLoadBalancerNodePorts")
    assert not [field for field in gone if field in plain]


async def test_addresses_and_ports_are_taken_after_a_restart(client: rest.RestClient) -> None:
    """What the stored Services have is theirs; what is free is given."""
    made = await client.create(
        kinds.SERVICE, service(type="LoadBalancer", externalTrafficPolicy="Local"), namespace="default"
    )
    fresh = addresses.Allocator("10.96.0.0/16", source=random.Random(1))
    services.restore([made, *(await client.list(kinds.SERVICE)).items], fresh)
    spec = made["spec"]
    with pytest.raises(addresses.AllocationError, match="already allocated"):
        fresh.take_address(spec["clusterIP"], owner="default/thief")
    for port in (spec["ports"][0]["nodePort"], spec["healthCheckNodePort"]):
        with pytest.raises(addresses.AllocationError, match="already allocated"):
            fresh.take_port(port, "TCP", owner="default/thief")
    fresh.take_address(spec["clusterIP"], owner="default/s")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
    ],
)
async def test_a_family_that_the_cluster_has_not_is_refused(
    client: rest.RestClient, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.ApiError) as caught:
        await client.create(kinds.SERVICE, service(**spec), namespace="default")
    assert message in str(caught.value)
    preferring = service("both", ipFamilyPolicy="PreferDualStack")
    made = await client.create(kinds.SERVICE, preferring, namespace="default")
    assert (made["spec"]["ipFamilies"], made["spec"]["ipFamilyPolicy"]) == (["IPv4"], "PreferDualStack")


async def test_the_apis_own_service(api: server.ApiServer, client: rest.RestClient) -> None:
    made = await client.get(kinds.SERVICE, "kubernetes", namespace="default")
    assert made["spec"]["clusterIP"] == "10.96.0.1" and made["spec"]["ports"][0]["port"] == 443
    piece = await client.get(kinds.ENDPOINT_SLICE, "kubernetes", namespace="default")
    assert piece["ports"][0]["port"] == api.port


async def test_proxy(client: rest.RestClient, run: kubectl.Kubectl, door: pod_door.FakePodDoor) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n" + head.split(b"\r\n")[0])
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    door.ports[8080] = listener.sockets[0].getsockname()[1]
    await client.create(kinds.POD, pod(), namespace="default")
    out = (await run("get", "--raw", "/api/v1/namespaces/default/pods/p:8080/proxy/some/path?x=1")).out
    assert out == "GET /some/path?x=1 HTTP/1.0"
    listener.close()


async def test_the_kubelets_own_api_is_refused_by_name(run: kubectl.Kubectl) -> None:
    assert "nodes/proxy is not offered" in (await run("get", "--raw", "/api/v1/nodes/x/proxy/stats", code=1)).err


async def test_a_refused_service_takes_nothing_and_frees_nothing(client: rest.RestClient) -> None:
    kept = await client.create(
        kinds.SERVICE, {"metadata": {"name": "kept"}, "spec": {"ports": [{"port": 80}]}}, namespace="default"
    )
    address = kept["spec"]["clusterIP"]
    for body in (
        {},
        {"metadata": {"name": "kept", "labels": {"not a label": ""}}, "spec": {"ports": [{"port": 80}]}},
        {"metadata": {"name": "kept"}, "spec": {"ports": [{"port": 80}]}},
        {"metadata": {"name": "bad"}, "spec": {"ports": [{"port": 0}]}},
    ):
        with pytest.raises(errors.ApiError) as caught:
            await client.create(kinds.SERVICE, body, namespace="default")
        assert 400 <= caught.value.code < 500
    with pytest.raises(errors.ApiError, match="already allocated"):
        spec = {"clusterIP": address, "ports": [{"port": 80}]}
        await client.create(kinds.SERVICE, {"metadata": {"name": "thief"}, "spec": spec}, namespace="default")
