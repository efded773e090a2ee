"""What nobody owns any more goes, in the order that its deletion asked for."""

from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.client import errors
from fairlead.testing import workloads

CM = kinds.CONFIG_MAP


async def make(
    cluster: workloads.FakeCluster, name: str, *owners: dict[str, Any], block: bool = True
) -> dict[str, Any]:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
         "blockOwnerDeletion": block}
        for owner in owners
    ]  # fmt: skip
    body = {"metadata": {"name": name, "ownerReferences": references}}
    return await cluster.client.create(CM, body, namespace="default")


async def names(cluster: workloads.FakeCluster) -> list[str]:
    found = (await cluster.client.list(CM, namespace="default")).items
    return sorted(obj["metadata"]["name"] for obj in found)


async def test_dependents_go_with_their_last_owner() -> None:
    async with workloads.FakeCluster() as cluster:
        first, second = await make(cluster, "first"), await make(cluster, "second")
        await make(cluster, "both", first, second)
        grandchild = await make(cluster, "child", first)
        await make(cluster, "grandchild", grandchild)
        await cluster.settle()
        await cluster.client.delete(CM, "first", namespace="default", propagation="Background")
        await cluster.settle()
        assert await names(cluster) == ["both", "second"]
        both = await cluster.client.get(CM, "both", namespace="default")
        assert [owner["name"] for owner in both["metadata"]["ownerReferences"]] == ["second"]
        await cluster.client.delete(CM, "second", namespace="default", propagation="Background")
        await cluster.settle()
        assert await names(cluster) == []


async def test_foreground_waits_for_those_that_block() -> None:
    async with workloads.FakeCluster() as cluster:
        owner = await make(cluster, "owner")
        child = await make(cluster, "child", owner)
        await cluster.client.patch(CM, "child", {"metadata": {"finalizers": ["example.com/hold"]}}, namespace="default")
        await make(cluster, "loose", owner, block=False)
        await cluster.settle()
        await cluster.client.delete(CM, "owner", namespace="default", propagation="Foreground")
        await cluster.settle()
        assert await names(cluster) == ["child", "owner"]
        assert child["metadata"]["uid"]
        await cluster.client.patch(CM, "child", {"metadata": {"finalizers": None}}, namespace="default")
        await cluster.settle()
        assert await names(cluster) == []


async def test_orphans_stay_without_an_owner() -> None:
    async with workloads.FakeCluster() as cluster:
        owner = await make(cluster, "owner")
        await make(cluster, "child", owner)
        await cluster.settle()
        await cluster.client.delete(CM, "owner", namespace="default", propagation="Orphan")
        await cluster.settle()
        assert await names(cluster) == ["child"]
        child = await cluster.client.get(CM, "child", namespace="default")
        assert "ownerReferences" not in child["metadata"]


async def test_an_owner_of_the_same_name_but_another_uid_is_no_owner() -> None:
    async with workloads.FakeCluster() as cluster:
        owner = await make(cluster, "owner")
        owner["metadata"]["uid"] = "00000000-dead"
        await make(cluster, "child", owner)
        await cluster.settle()
        assert await names(cluster) == ["owner"]


async def test_owners_of_unknown_kinds_are_left_alone() -> None:
    async with workloads.FakeCluster() as cluster:
        reference = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "x", "uid": "x"}
        await cluster.client.create(
            CM, {"metadata": {"name": "child", "ownerReferences": [reference]}}, namespace="default"
        )
        await cluster.settle()
        assert await names(cluster) == ["child"]


async def test_a_deployment_goes_with_its_sets_and_pods() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
        await cluster.settle()
        await cluster.client.delete(kinds.DEPLOYMENT, "web", namespace="default", propagation="Foreground")
        await cluster.settle(1)
        assert await cluster.pods() == []
        assert (await cluster.client.list(kinds.REPLICA_SET, namespace="default")).items == []
        with pytest.raises(errors.ApiError):
            await cluster.client.get(kinds.DEPLOYMENT, "web", namespace="default")


async def test_a_deployment_deleted_with_orphan_leaves_running_pods() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
        await cluster.settle()
        await cluster.client.delete(kinds.DEPLOYMENT, "web", namespace="default", propagation="Orphan")
        await cluster.settle(1)
        assert len(await cluster.pods()) == 3
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
        await cluster.settle()
        assert len(await cluster.pods()) == 3  # adopted, not made again


async def test_a_namespace_is_emptied_before_it_goes() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
        body = workloads.deployment()
        body["metadata"]["namespace"] = "team"
        await cluster.client.create(kinds.DEPLOYMENT, body)
        await cluster.settle()
        assert len(await cluster.pods(namespace="team")) == 3
        await cluster.client.get(kinds.SERVICE_ACCOUNT, "default", namespace="team")
        await cluster.client.delete(kinds.NAMESPACE, "team")
        await cluster.settle(5)
        with pytest.raises(errors.ApiError):
            await cluster.client.get(kinds.NAMESPACE, "team")
        assert await cluster.pods(namespace="team") == []


async def test_the_namespaces_that_must_exist_are_made() -> None:
    async with workloads.FakeCluster(root_ca_pem="PEM") as cluster:
        await cluster.settle()
        found = {obj["metadata"]["name"] for obj in (await cluster.client.list(kinds.NAMESPACE)).items}
        assert found == {"default", "kube-system", "kube-public", "kube-node-lease"}
        ca = await cluster.client.get(CM, "kube-root-ca.crt", namespace="kube-system")
        assert ca["data"] == {"ca.crt": "PEM"}
