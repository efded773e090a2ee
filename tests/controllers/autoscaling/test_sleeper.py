"""Workloads sleep when nobody asks, and wake when somebody does."""

from typing import Any

import pytest

from fairlead.api import kinds, problem
from fairlead.controllers.autoscaling import idle, metrics
from fairlead.testing import workloads

NOW = 1_700_000_000.0
Object = dict[str, Any]


def snapshot(**given: Any) -> idle.Snapshot:
    base = {"idle_seconds": 60.0, "replicas": 2, "least_awake": 1, "active_at": NOW, "demanded_at": None, "now": NOW}
    return idle.Snapshot(**{**base, **given})


@pytest.mark.parametrize(
    ("given", "replicas", "again"),
    [
        pytest.param({}, 2, 1.0, id="active now"),
        pytest.param({"active_at": NOW - 59.5}, 2, 0.5, id="nearly idle"),
        pytest.param({"active_at": NOW - 60}, 0, None, id="idle"),
        pytest.param({"active_at": NOW - 600, "demanded_at": NOW - 5}, 2, 1.0, id="demand counts as activity"),
        pytest.param({"replicas": 0}, 0, 1.0, id="asleep"),
        pytest.param({"replicas": 0, "demanded_at": NOW}, 1, None, id="woken"),
        pytest.param({"replicas": 0, "demanded_at": NOW, "least_awake": 3}, 3, None, id="woken to the HPA's minimum"),
        pytest.param({"replicas": 0, "demanded_at": NOW, "least_awake": 0}, 1, None, id="never woken to zero"),
    ],
)
def test_when_to_sleep_and_when_to_wake(given: Object, replicas: int, again: float | None) -> None:
    verdict = idle.decide(snapshot(**given))
    assert (verdict.replicas, verdict.again_seconds) == (replicas, again)


@pytest.mark.parametrize("text", ["", "soon", "0", "-5", "nan", "1e99"])
def test_a_wrong_annotation_is_a_problem(text: str) -> None:
    service = {"metadata": {"name": "web", "namespace": "default", "annotations": {idle.ANNOTATION: text}}}
    assert isinstance(idle.read(service), problem.Problem)


class Traffic:
    def __init__(self) -> None:
        self.in_flight: int | None = 0
        self.waiting, self.looked_at = 0, 0.0

    def reading(self, metric: str, subject: metrics.Subject, *, window_seconds: float) -> metrics.Sample | None:
        if metric == "requests_waiting":
            return metrics.Sample(self.waiting * 1000, self.looked_at, 0.0)
        return None if self.in_flight is None else metrics.Sample(self.in_flight * 1000, NOW, window_seconds)


async def started(cluster: workloads.FakeCluster, **annotations: str) -> None:
    await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment(replicas=2))
    metadata = {"name": "web", "annotations": annotations}
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "appProtocol": "http"}]}
    await cluster.client.create(kinds.SERVICE, {"metadata": metadata, "spec": spec}, namespace="default")
    await cluster.settle(1)


async def replicas(cluster: workloads.FakeCluster) -> int:
    return int((await cluster.client.get(kinds.DEPLOYMENT, "web", namespace="default"))["spec"]["replicas"])


async def test_an_idle_service_sleeps_and_demand_wakes_it() -> None:
    traffic = Traffic()
    async with workloads.FakeCluster(traffic_source=traffic, can_hold=True) as cluster:
        await started(cluster, **{idle.ANNOTATION: "30"})
        traffic.in_flight = 1
        await cluster.settle(60)
        assert await replicas(cluster) == 2
        traffic.in_flight = 0
        await cluster.settle(25)
        assert await replicas(cluster) == 2
        await cluster.settle(10)
        assert await replicas(cluster) == 0
        cluster.server.requests.clear()
        await cluster.settle(300)
        assert cluster.server.requests == []
        cluster.suite.sleeper.demand("default", "web")
        await cluster.settle(0.2)
        assert await replicas(cluster) == 1
        assert len(await cluster.pods()) == 1
        events = {event["reason"] for event in (await cluster.client.list(kinds.EVENT)).items}
        assert {"ScaledToZero", "ScaledFromZero"} <= events


async def test_unknown_traffic_keeps_it_awake() -> None:
    traffic = Traffic()
    traffic.in_flight = None
    async with workloads.FakeCluster(traffic_source=traffic, can_hold=True) as cluster:
        await started(cluster, **{idle.ANNOTATION: "5"})
        await cluster.settle(60)
        assert await replicas(cluster) == 2


async def test_without_an_engine_that_holds_nothing_sleeps_and_an_event_says_so() -> None:
    async with workloads.FakeCluster(traffic_source=Traffic()) as cluster:
        await started(cluster, **{idle.ANNOTATION: "5"})
        await cluster.settle(60)
        assert await replicas(cluster) == 2
        events = [e for e in (await cluster.client.list(kinds.EVENT)).items if e["reason"] == "ScaleToZeroUnavailable"]
        assert len(events) == 1 and events[0]["count"] == 1


async def test_demand_at_a_service_without_the_annotation_changes_nothing() -> None:
    async with workloads.FakeCluster(traffic_source=Traffic(), can_hold=True) as cluster:
        await started(cluster)
        await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 0}}, namespace="default")
        await cluster.settle(1)
        cluster.suite.sleeper.demand("default", "web")
        await cluster.settle(5)
        assert await replicas(cluster) == 0


async def test_a_plain_tcp_port_sleeps_too() -> None:
    async with workloads.FakeCluster(traffic_source=Traffic(), can_hold=True) as cluster:
        await started(cluster, **{idle.ANNOTATION: "5"})
        spec = {"spec": {"ports": [{"port": 5432}]}}
        await cluster.client.patch(kinds.SERVICE, "web", spec, namespace="default")
        await cluster.settle(60)
        assert await replicas(cluster) == 0


async def test_a_port_whose_datagrams_cannot_be_held_keeps_the_workload_awake() -> None:
    async with workloads.FakeCluster(traffic_source=Traffic(), can_hold=True) as cluster:
        await started(cluster, **{idle.ANNOTATION: "5"})
        spec = {"spec": {"ports": [{"port": 53, "protocol": "UDP"}]}}
        await cluster.client.patch(kinds.SERVICE, "web", spec, namespace="default")
        await cluster.settle(60)
        assert await replicas(cluster) == 2
        events = [e for e in (await cluster.client.list(kinds.EVENT)).items if e["reason"] == "ScaleToZeroUnavailable"]
        assert "port 53 is not TCP" in events[0]["message"]


async def test_a_woken_workload_that_starts_slowly_is_not_put_to_sleep_again() -> None:
    async with workloads.FakeCluster(traffic_source=Traffic(), can_hold=True) as cluster:
        await started(cluster, **{idle.ANNOTATION: "2"})
        await cluster.settle(10)
        assert await replicas(cluster) == 0
        cluster.kubelet.delay = lambda pod: 30.0
        cluster.suite.sleeper.demand("default", "web")
        await cluster.settle(25)
        assert await replicas(cluster) == 1
        await cluster.settle(20)
        assert await replicas(cluster) == 0


async def test_an_old_demand_does_not_wake_what_somebody_sent_to_sleep() -> None:
    async with workloads.FakeCluster(traffic_source=Traffic(), can_hold=True) as cluster:
        await started(cluster, **{idle.ANNOTATION: "3600"})
        cluster.suite.sleeper.demand("default", "web")
        await cluster.settle(2)
        await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 0}}, namespace="default")
        await cluster.settle(10)
        assert await replicas(cluster) == 0


async def test_what_waits_wakes_it_even_when_no_demand_was_heard() -> None:
    traffic = Traffic()
    async with workloads.FakeCluster(traffic_source=traffic, can_hold=True) as cluster:
        await started(cluster, **{idle.ANNOTATION: "3600"})
        await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 0}}, namespace="default")
        await cluster.settle(2)
        traffic.waiting = 1  # as of long ago
        await cluster.settle(3)
        assert await replicas(cluster) == 0
        traffic.looked_at = cluster.clock.now()
        await cluster.settle(3)
        assert await replicas(cluster) == 1
