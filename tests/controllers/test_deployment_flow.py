"""Deployments end to end: real controllers, an API server in memory, a node agent that runs nothing."""

from typing import Any

from fairlead.api import kinds
from fairlead.controllers import conditions
from fairlead.testing import workloads

Object = dict[str, Any]


async def get(cluster: workloads.FakeCluster, name: str = "web") -> Object:
    return await cluster.client.get(kinds.DEPLOYMENT, name, namespace="default")


async def sets(cluster: workloads.FakeCluster) -> dict[str, int]:
    """Image -> replicas of each ReplicaSet."""
    found = (await cluster.client.list(kinds.REPLICA_SET, namespace="default")).items
    return {one["spec"]["template"]["spec"]["containers"][0]["image"]: one["spec"]["replicas"] for one in found}


async def set_image(cluster: workloads.FakeCluster, image: str) -> None:
    template = workloads.deployment(image=image)["spec"]["template"]
    await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": template}}, namespace="default")


async def create(cluster: workloads.FakeCluster, body: Object) -> None:
    await cluster.client.create(kinds.DEPLOYMENT, body)
    await cluster.settle()


async def test_a_deployment_becomes_ready_pods_and_says_so() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment())
        pods = await cluster.pods("app=web")
        assert len(pods) == 3
        found = await get(cluster)
        assert found["status"]["readyReplicas"] == found["status"]["updatedReplicas"] == 3
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        progressing = conditions.find(found, "Progressing")
        assert progressing is not None and progressing["reason"] == "NewReplicaSetAvailable"
        available = conditions.find(found, "Available")
        assert available is not None and available["status"] == "True"
        events = {event["reason"]: event for event in (await cluster.client.list(kinds.EVENT)).items}
        assert events["ScalingReplicaSet"]["message"].endswith("from 0 to 3")
        assert events["SuccessfulCreate"]["source"] == {"component": "replicaset-controller"}


async def test_scaling_writes_nothing_that_is_not_needed() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment())
        cluster.server.requests.clear()
        patch = {"spec": {"replicas": 5}}
        await cluster.client.patch(kinds.DEPLOYMENT, "web", patch, namespace="default", subresource="scale")
        await cluster.settle()
        assert len(await cluster.pods("app=web")) == 5
        created = [request for request in cluster.server.requests if request[0] == "POST" and "/pods" in request[1]]
        assert len(created) == 2
        cluster.server.requests.clear()
        await cluster.settle(30)
        assert cluster.server.requests == []


async def test_a_new_image_rolls_without_falling_below_the_minimum() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment(replicas=4))
        cluster.kubelet.delay = lambda pod: 1.0
        await set_image(cluster, "web:2")
        for _ in range(40):
            await cluster.settle(0.25)
            pods = [pod for pod in await cluster.pods() if "deletionTimestamp" not in pod["metadata"]]
            ready = [pod for pod in pods if pod["status"]["phase"] == "Running"]
            assert len(ready) >= 3
            assert len(pods) <= 5
        assert await sets(cluster) == {"web:1": 0, "web:2": 4}
        found = await get(cluster)
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
        assert found["status"]["updatedReplicas"] == 4


async def test_undo_reuses_the_old_set_and_raises_its_revision() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment())
        await set_image(cluster, "web:2")
        await cluster.settle()
        await set_image(cluster, "web:1")
        await cluster.settle()
        assert await sets(cluster) == {"web:1": 3, "web:2": 0}
        found = (await cluster.client.list(kinds.REPLICA_SET, namespace="default")).items
        notes = {one["spec"]["replicas"]: one["metadata"]["annotations"] for one in found}
        assert notes[3]["deployment.kubernetes.io/revision"] == "3"
        assert notes[3]["deployment.kubernetes.io/revision-history"] == "1"


async def test_recreate_waits_for_the_last_old_pod() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet._stop_seconds = 5.0
        await create(cluster, workloads.deployment(strategy={"type": "Recreate"}))
        await set_image(cluster, "web:2")
        await cluster.settle(1)
        assert await sets(cluster) == {"web:1": 0}
        await cluster.settle(6)
        assert await sets(cluster) == {"web:1": 0, "web:2": 3}


async def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment())
        await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"paused": True}}, namespace="default")
        await set_image(cluster, "web:2")
        await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 6}}, namespace="default")
        await cluster.settle()
        assert await sets(cluster) == {"web:1": 6}
        progressing = conditions.find(await get(cluster), "Progressing")
        assert progressing is not None and progressing["reason"] == "DeploymentPaused"
        await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"paused": None}}, namespace="default")
        await cluster.settle()
        assert await sets(cluster) == {"web:1": 0, "web:2": 6}


async def test_no_progress_is_told_after_the_deadline() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment(progressDeadlineSeconds=20))
        cluster.kubelet.delay = lambda pod: None
        await set_image(cluster, "web:broken")
        await cluster.settle(15)
        progressing = conditions.find(await get(cluster), "Progressing")
        assert progressing is not None and progressing["status"] == "True"
        await cluster.settle(10)
        progressing = conditions.find(await get(cluster), "Progressing")
        assert progressing is not None and progressing["reason"] == "ProgressDeadlineExceeded"
        running = [pod for pod in await cluster.pods() if pod["status"]["phase"] == "Running"]
        assert len(running) == 3


async def test_min_ready_seconds_delays_availability() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment(minReadySeconds=10))
        found = await get(cluster)
        assert found["status"]["readyReplicas"] == 3
        assert found["status"].get("availableReplicas", 0) == 0
        await cluster.settle(12)
        assert (await get(cluster))["status"]["availableReplicas"] == 3


async def test_history_is_kept_to_its_limit() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment(revisionHistoryLimit=2))
        for number in range(2, 7):
            await set_image(cluster, f"web:{number}")
            await cluster.settle()
        assert await sets(cluster) == {"web:4": 0, "web:5": 0, "web:6": 3}


async def test_a_foreign_set_of_the_same_name_is_a_collision() -> None:
    from fairlead.controllers.deployment import revisions

    async with workloads.FakeCluster() as cluster:
        body = workloads.deployment()
        name, _ = revisions.name_of(body)
        foreign = workloads.deployment("other")["spec"]
        foreign_set = {key: foreign[key] for key in ("selector", "template")} | {"replicas": 0}
        await cluster.client.create(
            kinds.REPLICA_SET, {"metadata": {"name": name}, "spec": foreign_set}, namespace="default"
        )
        await create(cluster, body)
        found = await get(cluster)
        assert found["status"]["collisionCount"] == 1
        assert len(await cluster.pods("app=web")) == 3


async def test_a_set_that_matches_is_adopted_and_one_that_stops_matching_is_released() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment())
        (one,) = (await cluster.client.list(kinds.REPLICA_SET, namespace="default")).items
        labels = {"metadata": {"labels": {"app": "elsewhere"}}}
        await cluster.client.patch(kinds.REPLICA_SET, one["metadata"]["name"], labels, namespace="default")
        await cluster.settle()
        released = await cluster.client.get(kinds.REPLICA_SET, one["metadata"]["name"], namespace="default")
        assert "ownerReferences" not in released["metadata"]
        assert len(await cluster.pods()) == 6  # the released set keeps its own
        labels = {"metadata": {"labels": {"app": "web"}}}
        await cluster.client.patch(kinds.REPLICA_SET, one["metadata"]["name"], labels, namespace="default")
        await cluster.settle()
        adopted = await cluster.client.get(kinds.REPLICA_SET, one["metadata"]["name"], namespace="default")
        assert adopted["metadata"]["ownerReferences"][0]["name"] == "web"


async def test_restarted_controllers_change_nothing() -> None:
    async with workloads.FakeCluster() as cluster:
        await create(cluster, workloads.deployment())
        cluster.server.requests.clear()
        await cluster.restart()
        await cluster.settle()
        assert cluster.server.requests == []


async def test_a_refused_pod_is_told_in_condition_and_event() -> None:
    from fairlead.client import exchange

    async with workloads.FakeCluster() as cluster:

        def refuse(request: exchange.Request) -> exchange.Response | None:
            return (
                exchange.Response(403, body=b"exceeded quota")
                if request.method == "POST" and request.path.endswith("/pods")
                else None
            )

        cluster.server.fail = refuse
        await create(cluster, workloads.deployment())
        failure = conditions.find(await get(cluster), "ReplicaFailure")
        assert failure is not None and "exceeded quota" in failure["message"]
        events = [
            event for event in (await cluster.client.list(kinds.EVENT)).items if event["reason"] == "FailedCreate"
        ]
        assert events
        cluster.server.fail = lambda request: None
        await cluster.settle(70)
        assert len(await cluster.pods()) == 3
        assert conditions.find(await get(cluster), "ReplicaFailure") is None
