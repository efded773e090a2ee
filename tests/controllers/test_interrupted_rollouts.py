"""A rollout whose controllers die after any one of their writes finishes, with never too few or too many pods."""

from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.testing import interruption, memory, workloads

Object = dict[str, Any]


class Invariants:
    """Looks at the pods after every write to the store."""

    def __init__(self, cluster: workloads.FakeCluster, *, fewest_ready: int, most: int) -> None:
        self.cluster, self.fewest_ready, self.most = cluster, fewest_ready, most
        self.broken: list[str] = []
        cluster.server.store.observers.append(self)

    def __call__(self, entry: memory.Entry) -> None:
        if entry.key[0] != kinds.POD.path():
            return
        pods = self.cluster.server.store.select(kinds.POD.path(), "default", lambda pod: True)
        present = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        ready = [pod for pod in present if pod["status"].get("conditions")]
        if len(ready) < self.fewest_ready:
            self.broken.append(f"{len(ready)} ready at revision {entry.revision}")
        if len(present) > self.most:
            self.broken.append(f"{len(present)} pods at revision {entry.revision}")


async def rollout(strategy: Object, *, after: int, change: Object, fewest: int, most: int) -> tuple[int, Object]:
    """Interrupts a change after that many writes. Returns (writes made before the interruption, the Deployment)."""
    cluster = workloads.FakeCluster()
    cluster.kubelet.delay = lambda pod: 0.3
    async with cluster:
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment(replicas=4, strategy=strategy))
        await cluster.settle(2)
        invariants = Invariants(cluster, fewest_ready=fewest, most=most)
        cluster.door = cut = interruption.Interruption(cluster.server, after=after)
        await cluster.client.patch(kinds.DEPLOYMENT, "web", change, namespace="default")
        for _ in range(60):
            await cluster.settle(0.1)
            if cut.happened.is_set():
                break
        cluster.door = cluster.server
        await cluster.restart()
        await cluster.settle(4)
        found = await cluster.client.get(kinds.DEPLOYMENT, "web", namespace="default")
        assert invariants.broken == []
        pods = await cluster.pods()
        wanted = found["spec"]["replicas"]
        assert len(pods) == wanted, f"interrupted after write {after}"
        images = {pod["spec"]["containers"][0]["image"] for pod in pods}
        assert images == {found["spec"]["template"]["spec"]["containers"][0]["image"]}
        assert found["status"]["updatedReplicas"] == found["status"]["availableReplicas"] == wanted
    return cut.writes, found


def new_image() -> Object:
    return {"spec": {"template": workloads.deployment(image="web:2")["spec"]["template"]}}


def new_image_and_size() -> Object:
    return {"spec": {"replicas": 6, "template": workloads.deployment(image="web:2")["spec"]["template"]}}


ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
QUICK = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}


@pytest.mark.parametrize(
    ("strategy", "change", "fewest", "most"),
    [
        pytest.param(ROLLING, new_image(), 4, 5, id="one by one"),
        pytest.param(QUICK, new_image(), 3, 6, id="surge 2, unavailable 1"),
        pytest.param(ROLLING, new_image_and_size(), 4, 7, id="new image and size at once"),
        pytest.param({"type": "Recreate"}, new_image(), 0, 4, id="recreate"),
    ],
)
async def test_a_rollout_interrupted_after_every_single_write(
    strategy: Object, change: Object, fewest: int, most: int
) -> None:
    after = 1
    while True:
        made, _ = await rollout(strategy, after=after, change=change, fewest=fewest, most=most)
        if made < after:
            break
        after += 1
    assert after > 10, "a rollout of four pods takes more than ten writes"


async def test_the_interruption_is_real() -> None:
    """The check can fail: one that allows no pod to be missing finds Recreate out."""
    with pytest.raises(AssertionError, match="ready at revision"):
        await rollout({"type": "Recreate"}, after=3, change=new_image(), fewest=4, most=4)
