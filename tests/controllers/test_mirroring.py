"""Endpoints that a user writes for a Service without a selector become EndpointSlices, and follow them."""

from typing import Any

from fairlead.api import kinds
from fairlead.testing import workloads

Object = dict[str, Any]
SUBSET: Object = {"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "ports": [{"name": "db", "port": 5432}]}


async def prepare(cluster: workloads.FakeCluster, *, labels: Object | None = None, **spec: Any) -> None:
    service = {"metadata": {"name": "db"}, "spec": {"ports": [{"name": "db", "port": 5432}], **spec}}
    await cluster.client.create(kinds.SERVICE, service, namespace="default")
    body = {"metadata": {"name": "db", "labels": labels or {}}, "subsets": [SUBSET]}
    await cluster.client.create(kinds.ENDPOINTS, body, namespace="default")
    await cluster.settle(1)


async def slices(cluster: workloads.FakeCluster) -> list[Object]:
    listed = await cluster.client.list(
        kinds.ENDPOINT_SLICE, namespace="default", label_selector="kubernetes.io/service-name=db"
    )
    return sorted(listed.items, key=lambda one: str(one["addressType"]))


async def test_each_family_is_a_slice_and_changes_follow() -> None:
    async with workloads.FakeCluster() as cluster:
        await prepare(cluster)
        four, six = await slices(cluster)
        assert (four["addressType"], six["addressType"]) == ("IPv4", "IPv6")
        assert four["endpoints"] == [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}]
        assert four["ports"] == [{"name": "db", "port": 5432, "protocol": "TCP"}]
        assert four["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].startswith("endpointslicemirroring")
        subset = {"notReadyAddresses": [{"ip": "192.0.2.9"}], "ports": SUBSET["ports"]}
        await cluster.client.patch(kinds.ENDPOINTS, "db", {"subsets": [subset]}, namespace="default")
        await cluster.settle(1)
        (four,) = await slices(cluster)
        assert four["endpoints"] == [{"addresses": ["192.0.2.9"], "conditions": {"ready": False}}]
        await cluster.client.delete(kinds.ENDPOINTS, "db", namespace="default")
        await cluster.settle(1)
        assert await slices(cluster) == []


async def test_what_asks_to_be_skipped_and_what_has_a_selector_is_left_alone() -> None:
    async with workloads.FakeCluster() as cluster:
        await prepare(cluster, labels={"endpointslice.kubernetes.io/skip-mirror": "true"})
        assert await slices(cluster) == []
    async with workloads.FakeCluster() as cluster:
        await prepare(cluster, selector={"app": "db"})
        assert all("mirroring" not in str(one["metadata"]["labels"]) for one in await slices(cluster))
