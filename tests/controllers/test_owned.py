"""Of many changes of an owner's pods that come together few are decided; where there is no crowd each is, at once. What
others write into a status is put right."""

import itertools

from fairlead.api import kinds
from fairlead.base import leisure
from fairlead.controllers import runner
from fairlead.testing import workloads

PODS = 30
STEP_SECONDS = 0.01


async def _counted(*, crowd: int) -> int:
    """Writes of the ReplicaSet's status while its pods become ready one after the other."""
    made = workloads.FakeCluster()
    rush = leisure.Leisure(made.clock)
    made.use(leisure=rush)
    steps = itertools.count(1)
    made.kubelet.delay = lambda pod: 1 + next(steps) * STEP_SECONDS
    async with made as cluster:
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment(replicas=PODS))
        await cluster.settle(0.9)
        for _ in range(crowd):
            rush.begin()
        cluster.server.requests.clear()
        await cluster.settle(0.2 + PODS * STEP_SECONDS)
        counted = [path for method, path in cluster.server.requests if method == "PUT" and "/replicasets/" in path]
        for _ in range(crowd):
            rush.end()
        await cluster.settle(1.0)
        (found,) = (await cluster.client.list(kinds.REPLICA_SET)).items
        assert found["status"]["readyReplicas"] == PODS
        return len(counted)


async def test_each_pod_is_told_where_there_is_no_crowd() -> None:
    assert await _counted(crowd=0) == PODS


async def test_pods_of_a_crowd_are_told_of_together_and_none_is_forgotten() -> None:
    assert 1 <= await _counted(crowd=leisure.ROOM + 1) <= 5


async def test_a_status_that_somebody_else_wrote_is_put_right() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
        await cluster.settle(1)
        (found,) = (await cluster.client.list(kinds.REPLICA_SET)).items
        assert found["status"]["readyReplicas"] == 3
        await cluster.client.update(kinds.REPLICA_SET, {**found, "status": {"replicas": 7}}, subresource="status")
        await cluster.settle()
        (found,) = (await cluster.client.list(kinds.REPLICA_SET)).items
        assert (found["status"]["replicas"], found["status"]["readyReplicas"]) == (3, 3)


async def test_while_more_pods_wait_to_start_than_can_new_ones_are_made_a_few_at_a_time() -> None:
    made = workloads.FakeCluster()
    rush = leisure.Leisure(made.clock)
    made.use(leisure=rush)
    async with made as cluster:
        for _ in range(2 * rush.room):
            rush.begin()
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment(replicas=PODS))
        await cluster.settle(1.5 * runner.RUSH_SECONDS)
        assert 1 <= len(await cluster.pods()) < PODS / 2
        await cluster.settle(PODS * runner.RUSH_SECONDS)
        assert len(await cluster.pods()) == PODS
