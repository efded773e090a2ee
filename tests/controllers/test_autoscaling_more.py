"""HPAs on traffic, several metrics, panic and dry runs, end to end."""

from typing import Any

from fairlead.api import kinds
from fairlead.controllers import conditions
from fairlead.controllers.autoscaling import metrics

from .test_autoscaling_flow import Bench, hpa, web

Object = dict[str, Any]


class Traffic:
    """A traffic source: so much in all, shared by the pods that serve."""

    def __init__(self, bench: Bench) -> None:
        self.in_flight = 0.0
        self.short: float | None = None  # what a window of a second sees
        self._bench = bench

    def reading(self, metric: str, subject: metrics.Subject, *, window_seconds: float) -> metrics.Sample | None:
        total = self.short if self.short is not None and window_seconds <= 1 else self.in_flight
        now = self._bench.cluster.clock.now()
        if metric != "requests_in_flight" or subject.name == "unknown":
            return None
        if subject.kind == "Pod":
            share = total / len(self._bench.ready) if subject.name in self._bench.ready else 0.0
            return metrics.Sample(int(share * 1000), now, window_seconds)
        return metrics.Sample(int(total * 1000), now, window_seconds)


def metric(kind: str, **target: Any) -> Object:
    name: Object = {"name": "requests_in_flight"}
    if kind == "Pods":
        return {"type": "Pods", "pods": {"metric": name, "target": {"type": "AverageValue", **target}}}
    if kind == "Object":
        described = {"apiVersion": "v1", "kind": "Service", "name": "web"}
        return {"type": "Object", "object": {"metric": name, "describedObject": described, "target": target}}
    name["selector"] = {"matchLabels": {"service": "web"}}
    return {"type": "External", "external": {"metric": name, "target": target}}


def benched() -> tuple[Bench, Traffic]:
    bench = Bench()
    traffic = Traffic(bench)
    bench.cluster.use(metrics_source=bench.load, traffic_source=traffic)
    return bench, traffic


async def started(bench: Bench, *hpas: Object, replicas: int = 3) -> None:
    await bench.cluster.client.create(kinds.DEPLOYMENT, web(replicas))
    await bench.run(2)
    for one in hpas:
        await bench.cluster.client.create(kinds.HPA, one)
    await bench.run(2)


async def test_requests_in_flight_per_pod() -> None:
    bench, traffic = benched()
    async with bench.cluster:
        await started(bench, hpa(metrics=[metric("Pods", averageValue="10")]))
        traffic.in_flight = 80
        await bench.run(40)
        assert await bench.replicas() == 8
        found = await bench.cluster.client.get(kinds.HPA, "web", namespace="default")
        assert found["status"]["currentMetrics"][0]["pods"]["current"]["averageValue"] == "10"


async def test_an_object_and_an_external_metric_divided_over_the_pods() -> None:
    for kind in ("Object", "External"):
        bench, traffic = benched()
        async with bench.cluster:
            await started(bench, hpa(metrics=[metric(kind, type="AverageValue", averageValue="10")]))
            traffic.in_flight = 78
            await bench.run(40)
            assert await bench.replicas() == 8


async def test_of_several_metrics_the_largest_wins_and_a_broken_one_only_prevents_less() -> None:
    bench, traffic = benched()
    broken = metric("Pods", averageValue="10")
    broken["pods"]["metric"] = {"name": "queue_length"}
    cpu = hpa()["spec"]["metrics"][0]
    down = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    async with bench.cluster:
        await started(bench, hpa(metrics=[cpu, metric("Pods", averageValue="10"), broken], behavior=down))
        bench.load.cores, traffic.in_flight = 0.25, 70
        await bench.run(40)
        assert await bench.replicas() == 7
        bench.load.cores, traffic.in_flight = 0.05, 10
        await bench.run(40)
        assert await bench.replicas() == 7
        status, reason = await bench.condition("ScalingActive")
        assert (status, reason) == ("False", "FailedGetPodsMetric")


async def test_min_replicas_zero_goes_to_zero_and_back() -> None:
    bench, traffic = benched()
    down = {"scaleDown": {"stabilizationWindowSeconds": 2}}
    spec = {"minReplicas": 0, "metrics": [metric("Object", type="AverageValue", averageValue="10")], "behavior": down}
    async with bench.cluster:
        await started(bench, hpa(**spec), replicas=1)
        await bench.run(10)
        assert await bench.replicas() == 0
        traffic.in_flight = 25
        await bench.run(5)
        assert await bench.replicas() == 3


async def test_panic_goes_by_the_short_window_and_not_down() -> None:
    bench, traffic = benched()
    slow = {"scaleUp": {"stabilizationWindowSeconds": 60}, "scaleDown": {"stabilizationWindowSeconds": 0}}
    async with bench.cluster:
        calm = hpa("calm", metrics=[metric("Pods", averageValue="10")], behavior=slow)
        calm["metadata"]["annotations"] = {"fairlead.dev/panic": "200%"}
        await started(bench, calm)
        traffic.in_flight = 30
        await bench.run(5)
        traffic.short = 50  # less than twice what three pods carry
        await bench.run(5)
        assert await bench.replicas() == 3
        traffic.short = 90
        await bench.run(20)
        assert await bench.replicas() == 9
        traffic.short, traffic.in_flight = 0, 0
        await bench.run(30)
        assert await bench.replicas() == 9
        await bench.run(60)
        assert await bench.replicas() == 3


async def test_a_wrong_panic_annotation_is_told_once() -> None:
    bench, _ = benched()
    wrong = hpa()
    wrong["metadata"]["annotations"] = {"fairlead.dev/panic": "much"}
    async with bench.cluster:
        await started(bench, wrong)
        await bench.run(10)
        events = [
            one for one in (await bench.cluster.client.list(kinds.EVENT)).items if one["reason"] == "InvalidAnnotation"
        ]
        assert len(events) == 1 and events[0]["count"] == 1 and "200%" in events[0]["message"]


async def test_a_dry_run_says_and_does_nothing() -> None:
    bench, _ = benched()
    dry = hpa()
    dry["metadata"]["annotations"] = {"fairlead.dev/dry-run": "true"}
    async with bench.cluster:
        await started(bench, dry)
        bench.load.cores = 0.45
        await bench.run(30)
        assert await bench.replicas() == 3
        found = await bench.cluster.client.get(kinds.HPA, "web", namespace="default")
        condition = conditions.find(found, "DryRun")
        assert condition is not None and condition["message"].startswith("would scale from 3 to 7")
        assert found["status"]["desiredReplicas"] == 7
        events = [one for one in (await bench.cluster.client.list(kinds.EVENT)).items if one["reason"] == "DryRun"]
        assert {one["count"] for one in events} == {1}


async def test_metrics_that_nobody_serves_are_told() -> None:
    bench, _ = benched()
    lost = metric("Object", type="Value", value="1")
    lost["object"]["describedObject"]["name"] = "unknown"
    selected = metric("Pods", averageValue="1")
    selected["pods"]["metric"]["selector"] = {"matchLabels": {"a": "b"}}
    async with bench.cluster:
        await started(bench, hpa(metrics=[lost, selected]))
        found = conditions.find(await bench.cluster.client.get(kinds.HPA, "web", namespace="default"), "ScalingActive")
        assert found is not None and "Service default/unknown" in found["message"]
