"""DaemonSets: one pod on every node that fits."""

from typing import Any

from fairlead.api import kinds
from fairlead.testing import workloads

Object = dict[str, Any]


def daemon(*, image: str = "web:1", **spec: Any) -> Object:
    return workloads.workload("DaemonSet", image=image, **spec)


class Nodes(workloads.FakeCluster):
    """A fake cluster with several nodes."""

    async def prepare(self, *names: str, **more: Any) -> None:
        for name in names:
            await self.client.create(kinds.NODE, workloads.node(name, **more))

    async def places(self) -> dict[str, str]:
        """Node -> image."""
        return {pod["spec"]["nodeName"]: pod["spec"]["containers"][0]["image"] for pod in await self.pods()}


async def test_every_node_gets_one_and_new_ones_too() -> None:
    async with Nodes() as cluster:
        await cluster.prepare("a", "b")
        await cluster.client.create(kinds.DAEMON_SET, daemon())
        await cluster.settle(1)
        assert await cluster.places() == {"a": "web:1", "b": "web:1"}
        await cluster.prepare("c")
        await cluster.settle(1)
        assert set(await cluster.places()) == {"a", "b", "c"}
        found = await cluster.client.get(kinds.DAEMON_SET, "web", namespace="default")
        status = found["status"]
        assert status["desiredNumberScheduled"] == status["numberReady"] == status["updatedNumberScheduled"] == 3
        await cluster.client.delete(kinds.NODE, "c")
        await cluster.settle(1)
        assert set(await cluster.places()) == {"a", "b"}


async def test_selectors_and_taints_keep_pods_away() -> None:
    async with Nodes() as cluster:
        await cluster.prepare("ssd", labels={"disk": "ssd"})
        await cluster.prepare("plain")
        taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
        await cluster.prepare("tainted", labels={"disk": "ssd"}, taints=[taint])
        body = daemon()
        body["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
        await cluster.client.create(kinds.DAEMON_SET, body)
        await cluster.settle(1)
        assert set(await cluster.places()) == {"ssd"}
        body["spec"]["template"]["spec"]["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
        await cluster.client.patch(
            kinds.DAEMON_SET, "web", {"spec": {"template": body["spec"]["template"]}}, namespace="default"
        )
        await cluster.settle(2)
        assert set(await cluster.places()) == {"ssd", "tainted"}


async def test_an_update_replaces_one_node_after_the_other() -> None:
    async with Nodes() as cluster:
        await cluster.prepare("a", "b", "c")
        await cluster.client.create(kinds.DAEMON_SET, daemon())
        await cluster.settle(1)
        cluster.kubelet.delay = lambda pod: 0.3
        template = daemon(image="web:2")["spec"]["template"]
        await cluster.client.patch(kinds.DAEMON_SET, "web", {"spec": {"template": template}}, namespace="default")
        for _ in range(40):
            await cluster.settle(0.1)
            assert sum(bool(pod["status"].get("conditions")) for pod in await cluster.pods()) >= 2
        assert set((await cluster.places()).values()) == {"web:2"}
        revisions = (await cluster.client.list(kinds.CONTROLLER_REVISION, namespace="default")).items
        assert [one["revision"] for one in revisions] == [1, 2] or len(revisions) == 2


async def test_surge_makes_the_new_one_first() -> None:
    async with Nodes() as cluster:
        await cluster.prepare("a", "b")
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await cluster.client.create(kinds.DAEMON_SET, daemon(updateStrategy=rolling))
        await cluster.settle(1)
        cluster.kubelet.delay = lambda pod: 0.3
        template = daemon(image="web:2")["spec"]["template"]
        await cluster.client.patch(kinds.DAEMON_SET, "web", {"spec": {"template": template}}, namespace="default")
        for _ in range(40):
            await cluster.settle(0.1)
            pods = await cluster.pods()
            assert sum(bool(pod["status"].get("conditions")) for pod in pods) >= 2
            assert len(pods) <= 4
        assert set((await cluster.places()).values()) == {"web:2"}


async def test_a_pod_that_fails_again_and_again_is_made_anew_ever_more_slowly() -> None:
    async with Nodes() as cluster:
        await cluster.prepare("a")
        cluster.kubelet.outcome = lambda pod: (0.01, 1)
        await cluster.client.create(kinds.DAEMON_SET, daemon())
        made: set[str] = set()
        for _ in range(310):
            await cluster.settle(0.1)
            made |= {pod["metadata"]["uid"] for pod in await cluster.pods()}
        assert 5 <= len(made) <= 8  # after 0, 1, 2, 4, 8 and 16 seconds
        events = (await cluster.client.list(kinds.EVENT, namespace="default")).items
        assert any(one["reason"] == "FailedDaemonPod" for one in events)
