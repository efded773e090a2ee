"""HPAs end to end: load goes up and down, replicas follow, conditions and Events say why."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fairlead.api import kinds
from fairlead.controllers import conditions
from fairlead.controllers.autoscaling import metrics
from fairlead.testing import load, workloads

Object = dict[str, Any]


def hpa(name: str = "web", target: str = "web", **spec: Any) -> Object:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 3,
            "maxReplicas": 10,
            "metrics": [metric],
            **spec,
        },
    }


def web(replicas: int = 3, *, request: str | None = "100m") -> Object:
    body = workloads.deployment(replicas=replicas)
    if request:
        body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": request}}
    return body


class Bench:
    def __init__(self) -> None:
        self.ready: list[str] = []
        self.cluster = workloads.FakeCluster()
        self.load = load.FakeLoad(self.cluster.clock, serving=lambda: self.ready)
        self.cluster.use(metrics_source=self.load)

    async def run(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            await self.cluster.settle(1)
            pods = await self.cluster.pods()
            self.ready = [pod["metadata"]["name"] for pod in pods if pod["status"].get("conditions")]

    async def replicas(self) -> int:
        found = await self.cluster.client.get(kinds.DEPLOYMENT, "web", namespace="default")
        return int(found["spec"]["replicas"])

    async def condition(self, type_: str, name: str = "web") -> tuple[str, str]:
        found = conditions.find(await self.cluster.client.get(kinds.HPA, name, namespace="default"), type_)
        assert found is not None
        return found["status"], found["reason"]


@contextlib.asynccontextmanager
async def running(deployment: Object, *hpas: Object) -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.cluster:
        await bench.cluster.client.create(kinds.DEPLOYMENT, deployment)
        await bench.run(2)
        for one in hpas:
            await bench.cluster.client.create(kinds.HPA, one)
        yield bench


async def test_replicas_follow_the_load_up_and_down() -> None:
    down = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    async with running(web(), hpa(behavior=down)) as bench:
        await bench.run(10)
        assert await bench.replicas() == 3
        bench.load.cores = 0.45  # nine pods at 50 %
        await bench.run(60)
        assert await bench.replicas() == 9
        assert await bench.condition("ScalingActive") == ("True", "ValidMetricFound")
        bench.load.cores = 0.05
        await bench.run(60)
        assert await bench.replicas() == 3
        assert await bench.condition("ScalingLimited") == ("True", "TooFewReplicas")
        events = [event["message"] for event in (await bench.cluster.client.list(kinds.EVENT)).items
                  if event["reason"] == "SuccessfulRescale"]  # fmt: skip
        assert any("cpu resource utilization (percentage of request) above target" in text for text in events)
        assert any("All metrics below target" in text for text in events)


async def test_by_default_it_waits_five_minutes_before_it_goes_down() -> None:
    async with running(web(), hpa()) as bench:
        bench.load.cores = 0.45
        await bench.run(60)
        bench.load.cores = 0.05
        await bench.run(240)
        assert await bench.replicas() == 9
        assert await bench.condition("AbleToScale") == ("True", "ScaleDownStabilized")
        await bench.run(120)
        assert await bench.replicas() == 3


async def test_a_missing_request_is_told_and_nothing_scales() -> None:
    async with running(web(request=None), hpa()) as bench:
        bench.load.cores = 5
        await bench.run(20)
        assert await bench.replicas() == 3
        assert await bench.condition("ScalingActive") == ("False", "FailedGetResourceMetric")
        reasons = {event["reason"] for event in (await bench.cluster.client.list(kinds.EVENT)).items}
        assert "FailedComputeMetricsReplicas" in reasons


class Deaf:
    """Nothing is measured until it listens."""

    def __init__(self, bench: Bench) -> None:
        self.usage_of, self.listens = bench.load.usage, False

    def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Mapping[str, metrics.ContainerUsage]:
        return self.usage_of(namespace, pod, window_seconds=window_seconds) if self.listens else {}


async def test_that_nothing_is_measured_is_an_event_only_where_it_lasts() -> None:
    async def warnings(bench: Bench) -> int:
        events = (await bench.cluster.client.list(kinds.EVENT)).items
        return sum(event["reason"] == "FailedComputeMetricsReplicas" for event in events)

    bench = Bench()
    deaf = Deaf(bench)
    bench.cluster.use(metrics_source=deaf)
    async with bench.cluster:
        await bench.cluster.client.create(kinds.DEPLOYMENT, web())
        await bench.cluster.client.create(kinds.HPA, hpa())
        await bench.run(10)
        assert await bench.condition("ScalingActive") == ("False", "FailedGetResourceMetric")
        assert await warnings(bench) == 0
        deaf.listens = True
        await bench.run(10)
        assert await bench.condition("ScalingActive") == ("True", "ValidMetricFound")
        deaf.listens = False
        await bench.run(10)
        assert await warnings(bench) == 0
        await bench.run(20)
        assert await warnings(bench) == 1


async def test_a_missing_target_and_an_unscalable_one_are_told() -> None:
    async with running(web(), hpa("lost", "none"), hpa("odd")) as bench:
        odd = {"spec": {"scaleTargetRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}}}
        await bench.cluster.client.patch(kinds.HPA, "odd", odd, namespace="default")
        await bench.run(3)
        assert await bench.condition("AbleToScale", "lost") == ("False", "FailedGetScale")
        assert await bench.condition("AbleToScale", "odd") == ("False", "FailedGetScale")


async def test_two_hpas_on_one_target_are_both_refused() -> None:
    async with running(web(), hpa("one"), hpa("two")) as bench:
        await bench.run(1)
        bench.load.cores = 5
        await bench.run(10)
        assert await bench.replicas() == 3
        assert await bench.condition("ScalingActive", "one") == ("False", "AmbiguousSelector")
        assert await bench.condition("ScalingActive", "two") == ("False", "AmbiguousSelector")


async def test_a_rollout_alone_changes_nothing() -> None:
    async with running(web(), hpa()) as bench:
        bench.load.cores = 0.16  # 53 %: inside the tolerance, and more than three pods could carry exactly
        await bench.run(10)
        bench.cluster.kubelet.delay = lambda pod: 2.0
        template = web()["spec"]["template"]
        template["spec"]["containers"][0]["image"] = "web:2"
        await bench.cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"template": template}}, namespace="default")
        for _ in range(30):
            await bench.run(1)
            assert await bench.replicas() == 3


async def test_a_target_at_zero_is_left_alone() -> None:
    async with running(web(0), hpa()) as bench:
        await bench.run(5)
        assert await bench.replicas() == 0
        assert await bench.condition("ScalingActive") == ("False", "ScalingDisabled")


async def test_a_quiet_hpa_writes_little() -> None:
    async with running(web(), hpa()) as bench:
        await bench.run(20)
        bench.cluster.server.requests.clear()
        await bench.run(60)
        assert bench.cluster.server.requests == []


async def test_a_clock_set_back_by_an_hour_stretches_no_window() -> None:
    async with running(web(), hpa()) as bench:
        bench.load.cores = 0.3
        await bench.run(60)
        assert await bench.replicas() == 6
        bench.cluster.clock.jump(-3600.0)
        bench.load.cores = 0.45
        await bench.run(60)
        assert await bench.replicas() == 9
        bench.load.cores = 0.05
        await bench.run(360)
        assert await bench.replicas() == 3


async def test_a_machine_that_slept_for_an_hour_forgets_no_recommendation() -> None:
    async with running(web(), hpa()) as bench:
        bench.load.cores = 0.45
        await bench.run(60)
        bench.cluster.clock.jump(3600.0)
        bench.load.cores = 0.05
        await bench.run(240)
        assert await bench.replicas() == 9
