"""StatefulSets keep names, order and claims."""

from typing import Any

from fairlead.api import kinds
from fairlead.testing import interruption, workloads

Object = dict[str, Any]


def stateful(replicas: int = 3, *, image: str = "web:1", **spec: Any) -> Object:
    return workloads.workload("StatefulSet", replicas=replicas, serviceName="web", image=image, **spec)


async def get(cluster: workloads.FakeCluster) -> Object:
    return await cluster.client.get(kinds.STATEFUL_SET, "web", namespace="default")


async def names(cluster: workloads.FakeCluster) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in await cluster.pods())


async def images(cluster: workloads.FakeCluster) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in await cluster.pods()}


async def patch(cluster: workloads.FakeCluster, **spec: Any) -> None:
    await cluster.client.patch(kinds.STATEFUL_SET, "web", {"spec": spec}, namespace="default")


def template(image: str) -> Object:
    found: Object = stateful(image=image)["spec"]["template"]
    return found


async def test_pods_come_one_by_one_each_when_the_last_is_ready() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.delay = lambda pod: 1.0
        await cluster.client.create(kinds.STATEFUL_SET, stateful())
        await cluster.settle(0.5)
        assert await names(cluster) == ["web-0"]
        await cluster.settle(1)
        assert await names(cluster) == ["web-0", "web-1"]
        await cluster.settle(3)
        assert await names(cluster) == ["web-0", "web-1", "web-2"]
        (first, *_) = await cluster.pods()
        assert first["spec"]["hostname"] == "web-0" and first["spec"]["subdomain"] == "web"
        assert first["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
        found = await get(cluster)
        assert found["status"]["readyReplicas"] == found["status"]["currentReplicas"] == 3
        assert found["status"]["currentRevision"] == found["status"]["updateRevision"]


async def test_parallel_comes_at_once() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.delay = lambda pod: 1.0
        await cluster.client.create(kinds.STATEFUL_SET, stateful(podManagementPolicy="Parallel"))
        await cluster.settle(0.5)
        assert await names(cluster) == ["web-0", "web-1", "web-2"]
        await patch(cluster, replicas=0)
        await cluster.settle(0.5)
        assert await names(cluster) == []


async def test_a_lost_pod_comes_back_with_its_name_and_claim() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.STATEFUL_SET, stateful(2, volumeClaimTemplates=[claim]))
        await cluster.settle(1)
        before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await cluster.pods()}
        await cluster.client.delete(kinds.POD, "web-0", namespace="default")
        await cluster.settle(1)
        after = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await cluster.pods()}
        assert after.keys() == before.keys() and after["web-0"] != before["web-0"]
        claims = (await cluster.client.list(kinds.PERSISTENT_VOLUME_CLAIM, namespace="default")).items
        assert [one["metadata"]["name"] for one in claims] == ["data-web-0", "data-web-1"]
        (pod, *_) = await cluster.pods()
        assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}]
        await patch(cluster, replicas=1)
        await cluster.settle(1)
        assert len((await cluster.client.list(kinds.PERSISTENT_VOLUME_CLAIM, namespace="default")).items) == 2


async def test_scaling_down_takes_the_highest_first_one_by_one() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.STATEFUL_SET, stateful())
        await cluster.settle(1)
        cluster.kubelet._stop_seconds = 1.0
        await patch(cluster, replicas=1)
        await cluster.settle(0.5)
        leaving = [pod["metadata"]["name"] for pod in await cluster.pods() if "deletionTimestamp" in pod["metadata"]]
        assert leaving == ["web-2"]
        await cluster.settle(3)
        assert await names(cluster) == ["web-0"]


async def test_an_update_goes_from_the_highest_down_and_stops_at_the_partition() -> None:
    async with workloads.FakeCluster() as cluster:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        await cluster.client.create(kinds.STATEFUL_SET, stateful(updateStrategy=rolling))
        await cluster.settle(1)
        await patch(cluster, template=template("web:2"))
        await cluster.settle(2)
        assert await images(cluster) == {"web-0": "web:1", "web-1": "web:1", "web-2": "web:2"}
        await cluster.client.delete(kinds.POD, "web-0", namespace="default")
        await cluster.settle(1)
        assert (await images(cluster))["web-0"] == "web:1"
        status = (await get(cluster))["status"]
        assert (status["currentReplicas"], status["updatedReplicas"]) == (2, 1)
        await patch(cluster, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        await cluster.settle(3)
        assert set((await images(cluster)).values()) == {"web:2"}
        status = (await get(cluster))["status"]
        assert status["currentRevision"] == status["updateRevision"]


async def test_an_update_never_takes_more_than_one_away() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.STATEFUL_SET, stateful(4))
        await cluster.settle(1)
        cluster.kubelet.delay = lambda pod: 0.5
        await patch(cluster, template=template("web:2"))
        for _ in range(60):
            await cluster.settle(0.1)
            ready = [pod for pod in await cluster.pods() if pod["status"].get("conditions")]
            assert len(ready) >= 3
        assert set((await images(cluster)).values()) == {"web:2"}


async def test_a_broken_revision_can_be_rolled_back() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.STATEFUL_SET, stateful())
        await cluster.settle(1)
        cluster.kubelet.delay = lambda pod: None if pod["spec"]["containers"][0]["image"] == "broken" else 0.0
        await patch(cluster, template=template("broken"))
        await cluster.settle(2)
        assert (await images(cluster))["web-2"] == "broken"
        await patch(cluster, template=template("web:1"))
        await cluster.settle(2)
        assert set((await images(cluster)).values()) == {"web:1"}
        revisions = (await cluster.client.list(kinds.CONTROLLER_REVISION, namespace="default")).items
        assert sorted(one["revision"] for one in revisions) == [2, 3]


async def test_on_delete_waits_for_the_user() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.STATEFUL_SET, stateful(2, updateStrategy={"type": "OnDelete"}))
        await cluster.settle(1)
        await patch(cluster, template=template("web:2"))
        await cluster.settle(1)
        assert set((await images(cluster)).values()) == {"web:1"}
        await cluster.client.delete(kinds.POD, "web-1", namespace="default")
        await cluster.settle(1)
        assert await images(cluster) == {"web-0": "web:1", "web-1": "web:2"}


async def test_an_update_interrupted_after_every_single_write_finishes() -> None:
    after = 1
    while True:
        async with workloads.FakeCluster() as cluster:
            await cluster.client.create(kinds.STATEFUL_SET, stateful())
            await cluster.settle(1)
            cluster.door = cut = interruption.Interruption(cluster.server, after=after)
            await patch(cluster, template=template("web:2"))
            await cluster.settle(1)
            cluster.door = cluster.server
            await cluster.restart()
            await cluster.settle(2)
            assert await images(cluster) == {"web-0": "web:2", "web-1": "web:2", "web-2": "web:2"}
        if cut.writes < after:
            break
        after += 1
    assert after > 5


async def owners(cluster: workloads.FakeCluster) -> dict[str, list[str]]:
    claims = (await cluster.client.list(kinds.PERSISTENT_VOLUME_CLAIM, namespace="default")).items
    return {
        one["metadata"]["name"]: [of["kind"] for of in one["metadata"].get("ownerReferences") or ()] for one in claims
    }


async def test_claims_that_are_there_already_follow_the_retention_policy() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.STATEFUL_SET, stateful(2, volumeClaimTemplates=[claim]))
        await cluster.settle(1)
        assert await owners(cluster) == {"data-web-0": [], "data-web-1": []}
        await patch(cluster, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete", "whenScaled": "Retain"})
        await cluster.settle(1)
        assert await owners(cluster) == {"data-web-0": ["StatefulSet"], "data-web-1": ["StatefulSet"]}
        await patch(cluster, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Delete"})
        await cluster.settle(1)
        assert await owners(cluster) == {"data-web-0": [], "data-web-1": []}
        await patch(cluster, replicas=1)
        await cluster.settle(3)
        assert await names(cluster) == ["web-0"]
        assert await owners(cluster) == {"data-web-0": []}


async def test_a_failed_pod_is_made_anew_with_its_name() -> None:
    async with workloads.FakeCluster() as cluster:
        failed: list[str] = []

        def outcome(pod: Object) -> tuple[float, int] | None:
            if failed:
                return None
            failed.append(pod["metadata"]["uid"])
            return (0.1, 1)

        cluster.kubelet.outcome = outcome
        await cluster.client.create(kinds.STATEFUL_SET, stateful(2))
        await cluster.settle(3)
        assert await names(cluster) == ["web-0", "web-1"]
        assert all(pod["status"]["phase"] == "Running" for pod in await cluster.pods())
        assert failed[0] not in {pod["metadata"]["uid"] for pod in await cluster.pods()}
