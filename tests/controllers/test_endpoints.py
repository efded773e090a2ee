"""EndpointSlices say who serves what, with as few writes as possible."""

from collections.abc import Sequence
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.controllers import writes
from fairlead.controllers.endpoints import desired, legacy, slices
from fairlead.testing import workloads

Object = dict[str, Any]


def service(ports: list[Object] | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "svc", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "web"},
            "ports": ports or [{"name": "http", "port": 80, "targetPort": 8080}],
            **spec,
        },
    }


def pod(number: int, *, ready: bool = True, terminating: bool = False, phase: str = "Running", **spec: Any) -> Object:
    metadata: Object = {
        "name": f"web-{number:04}",
        "namespace": "default",
        "uid": f"u{number}",
        "labels": {"app": "web"},
    }
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"name": "main"}], **spec},
        "status": {
            "phase": phase,
            "podIP": f"10.0.{number // 250}.{number % 250 + 1}",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def decide(pods: Sequence[Object], present: Sequence[Object] = (), of: Object | None = None) -> list[writes.Write]:
    snapshot = slices.Snapshot(of or service(), pods, present, lambda node: "zone-a")
    return list(slices.decide(snapshot).writes)


class Store:
    """Applies decisions, as the API server would."""

    def __init__(self) -> None:
        self.slices: dict[str, Object] = {}
        self.made = 0

    def apply(self, pods: Sequence[Object], of: Object | None = None) -> list[writes.Write]:
        found = decide(pods, list(self.slices.values()), of)
        for write in found:
            if isinstance(write, writes.Create):
                self.made += 1
                name = f"web-{self.made:03}"
                body = {**write.body, "metadata": {**write.body["metadata"], "name": name, "uid": name}}
                self.slices[name] = body
            elif isinstance(write, writes.Update):
                self.slices[write.body["metadata"]["name"]] = write.body
            elif isinstance(write, writes.Delete):
                del self.slices[write.name]
        return found

    @property
    def sizes(self) -> list[int]:
        return [len(one["endpoints"] or ()) for one in self.slices.values()]


def test_ready_serving_and_terminating_are_separate() -> None:
    pods = [pod(0), pod(1, ready=False), pod(2, terminating=True), pod(3, ready=False, terminating=True)]
    (write,) = decide(pods)
    assert isinstance(write, writes.Create)
    found = [tuple(endpoint["conditions"].values()) for endpoint in write.body["endpoints"]]
    assert found == [(True, True, False), (False, False, False), (False, True, True), (False, False, True)]
    first = write.body["endpoints"][0]
    assert first["zone"] == "zone-a" and first["nodeName"] == "n1"
    assert first["targetRef"]["name"] == "web-0000"
    assert write.body["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }


def test_pods_without_address_or_finished_are_no_endpoints() -> None:
    waiting = pod(1)
    waiting["status"]["podIP"] = ""
    (write,) = decide([waiting, pod(2, phase="Succeeded"), pod(3, phase="Failed")])
    assert isinstance(write, writes.Create) and write.body["endpoints"] == []


def test_publish_not_ready_addresses() -> None:
    (write,) = decide([pod(0, ready=False)], of=service(publishNotReadyAddresses=True))
    assert isinstance(write, writes.Create)
    assert write.body["endpoints"][0]["conditions"]["ready"] is True


def test_named_ports_may_differ_between_pods() -> None:
    named = service([{"port": 80, "targetPort": "web"}])
    containers = [[{"name": "m", "ports": [{"name": "web", "containerPort": number}]}] for number in (8080, 9090)]
    pods = [pod(0, containers=containers[0]), pod(1, containers=containers[1]), pod(2)]
    found = decide(pods, of=named)
    assert sorted(write.body["ports"][0]["port"] for write in found if isinstance(write, writes.Create)) == [8080, 9090]
    assert all(len(write.body["endpoints"]) == 1 for write in found if isinstance(write, writes.Create))


def test_an_endpoint_whose_port_changes_is_never_in_no_slice() -> None:
    def named(http: int, alt: int) -> list[Object]:
        ports = [{"name": "http", "containerPort": http}, {"name": "alt", "containerPort": alt}]
        return [{"name": "main", "ports": ports}]

    pods = [
        pod(1, containers=named(8080, 8080)),
        pod(2, containers=named(8080, 9090)),
        pod(3, containers=named(9090, 9090)),
    ]
    store = Store()
    store.apply(pods, service([{"name": "p", "port": 80, "targetPort": "http"}]))
    first, second = store.apply(pods, service([{"name": "p", "port": 80, "targetPort": "alt"}]))
    assert isinstance(first, writes.Update) and isinstance(second, writes.Update)
    assert {one["addresses"][0] for one in first.body["endpoints"]} == {"10.0.0.3", "10.0.0.4"}
    assert {one["addresses"][0] for one in second.body["endpoints"]} == {"10.0.0.2"}


def test_a_port_that_the_node_moved_is_the_slices_port() -> None:
    moved = pod(0)
    moved["metadata"]["annotations"] = {desired.PORTS_ANNOTATION: '{"8080": 43121}'}
    (write,) = decide([moved])
    assert isinstance(write, writes.Create)
    assert write.body["ports"] == [{"name": "http", "port": 43121, "protocol": "TCP"}]


@pytest.mark.parametrize("text", ["", "x", "[]", '{"a": 1}', '{"8080": "x"}'])
def test_a_broken_ports_annotation_is_ignored(text: str) -> None:
    found = pod(0)
    found["metadata"]["annotations"] = {desired.PORTS_ANNOTATION: text}
    assert desired.ports_of(service(), found) == (("http", 8080, "TCP", ""),)


def test_both_families_have_slices_of_their_own() -> None:
    both = pod(0)
    both["status"]["podIPs"] = [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    found = decide([both], of=service(ipFamilies=["IPv4", "IPv6"]))
    assert [(write.body["addressType"], write.body["endpoints"][0]["addresses"]) for write in found
            if isinstance(write, writes.Create)] == [("IPv4", ["10.0.0.1"]), ("IPv6", ["fd00::1"])]  # fmt: skip


def test_at_most_a_hundred_endpoints_a_slice() -> None:
    store = Store()
    store.apply([pod(number) for number in range(250)])
    assert sorted(store.sizes) == [50, 100, 100]
    assert store.apply([pod(number) for number in range(250)]) == []


def test_one_pod_more_or_less_is_one_write() -> None:
    store = Store()
    pods = [pod(number) for number in range(250)]
    store.apply(pods)
    assert len(store.apply([*pods, pod(250)])) == 1
    assert len(store.apply(pods[1:])) <= 2
    pods = [pod(number) for number in range(1, 250)]
    store.apply(pods)
    changed = [pod(1, ready=False), *pods[1:]]
    assert [type(write) for write in store.apply(changed)] == [writes.Update]


def test_a_replaced_pod_is_one_update() -> None:
    store = Store()
    store.apply([pod(0), pod(1)])
    assert [type(write) for write in store.apply([pod(0), pod(2)])] == [writes.Update]
    assert store.sizes == [2]


def test_a_service_without_endpoints_keeps_one_empty_slice() -> None:
    store = Store()
    store.apply([])
    assert store.sizes == [0]
    assert store.apply([]) == []
    store.apply([pod(0)])
    assert sum(store.sizes) == 1
    store.apply([])
    assert store.sizes == [0]
    assert store.apply([]) == []


def test_changed_labels_of_the_service_reach_its_slices() -> None:
    store = Store()
    store.apply([pod(0)])
    renamed = service()
    renamed["metadata"]["labels"] = {"team": "b"}
    store.apply([pod(0)], renamed)
    (one,) = store.slices.values()
    assert one["metadata"]["labels"]["team"] == "b"


def test_legacy_endpoints_hold_ready_and_not_ready_apart() -> None:
    decision = legacy.decide(service(), [pod(0), pod(1, ready=False), pod(2, terminating=True)], None)
    (write,) = decision.writes
    assert isinstance(write, writes.Create)
    (subset,) = write.body["subsets"]
    assert [address["ip"] for address in subset["addresses"]] == ["10.0.0.1"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP", "name": "http"}]
    assert legacy.decide(service(), [pod(0), pod(1, ready=False)], write.body).writes == ()


def test_legacy_endpoints_say_when_they_are_truncated() -> None:
    (write,) = legacy.decide(service(), [pod(number) for number in range(1100)], None).writes
    assert isinstance(write, writes.Create)
    assert write.body["metadata"]["annotations"] == {legacy.OVER_CAPACITY: "truncated"}
    assert len(write.body["subsets"][0]["addresses"]) == 1000


async def slice_of_a_deployment(cluster: workloads.FakeCluster) -> Object:
    """The one EndpointSlice of a Service whose pods run."""
    body = {name: value for name, value in service().items() if name != "metadata"}
    await cluster.client.create(kinds.SERVICE, {**body, "metadata": {"name": "web"}}, namespace="default")
    await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
    await cluster.settle(1)
    (one,) = (await cluster.client.list(kinds.ENDPOINT_SLICE, namespace="default")).items
    return one


async def test_slices_follow_the_pods_of_a_deployment() -> None:
    async with workloads.FakeCluster() as cluster:
        one = await slice_of_a_deployment(cluster)
        assert len(one["endpoints"]) == 3
        legacy_one = await cluster.client.get(kinds.ENDPOINTS, "web", namespace="default")
        assert len(legacy_one["subsets"][0]["addresses"]) == 3
        await cluster.client.delete(kinds.SERVICE, "web", namespace="default")
        await cluster.settle(1)
        assert (await cluster.client.list(kinds.ENDPOINT_SLICE, namespace="default")).items == []
        assert (await cluster.client.list(kinds.ENDPOINTS, namespace="default")).items == []


async def test_a_slice_that_somebody_changed_is_put_right() -> None:
    async with workloads.FakeCluster() as cluster:
        one = await slice_of_a_deployment(cluster)
        await cluster.client.update(kinds.ENDPOINT_SLICE, {**one, "endpoints": one["endpoints"][:1]})
        await cluster.settle()
        (one,) = (await cluster.client.list(kinds.ENDPOINT_SLICE, namespace="default")).items
        assert len(one["endpoints"]) == 3


def test_a_pod_concerns_no_service_before_it_has_an_address() -> None:
    found = pod(1)
    unplaced = {**found, "status": {"phase": "Pending"}}
    assert desired.said_by(unplaced) == desired.said_by(None)
    assert desired.said_by(found) != desired.said_by(unplaced)


@pytest.mark.parametrize(
    ("wanted", "hints"),
    [
        ("PreferClose", {"forZones": [{"name": "zone-a"}]}),
        ("PreferSameZone", {"forZones": [{"name": "zone-a"}]}),
        ("PreferSameNode", {"forZones": [{"name": "zone-a"}], "forNodes": [{"name": "n1"}]}),
        (None, None),
    ],
)
def test_traffic_distribution_puts_hints_on_ready_endpoints(wanted: str | None, hints: Object | None) -> None:
    of = service(**({"trafficDistribution": wanted} if wanted else {}))
    (write,) = decide([pod(1), pod(2, ready=False)], of=of)
    assert isinstance(write, writes.Create)
    assert [endpoint.get("hints") for endpoint in write.body["endpoints"]] == [hints, None]


def test_hints_follow_a_changed_distribution() -> None:
    store = Store()
    store.apply([pod(1)], service(trafficDistribution="PreferClose"))
    assert store.apply([pod(1)], service(trafficDistribution="PreferClose")) == []
    store.apply([pod(1)], service())
    (only,) = store.slices.values()
    assert "hints" not in only["endpoints"][0]
