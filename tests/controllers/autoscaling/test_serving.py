"""The metrics APIs answer what kubectl top and Kubernetes' own autoscaler ask."""

import json
from typing import Any

from fairlead.client import cache, exchange
from fairlead.controllers.autoscaling import metrics, serving
from fairlead.testing import clock, load, workloads

from . import world

Object = dict[str, Any]


class Traffic:
    def reading(self, metric: str, subject: metrics.Subject, *, window_seconds: float) -> metrics.Sample | None:
        known = {("Pod", "pod-0"): 1500, ("Pod", "pod-1"): 2000, ("Service", "web"): 3500}
        milli = known.get((subject.kind, subject.name))
        return metrics.Sample(milli, 1000.0, 5.0) if milli and metric == "requests_in_flight" else None


def groups() -> dict[str, serving.Group]:
    pods, nodes, time = cache.OwnedCache(), cache.OwnedCache(), clock.FakeClock()
    for index in range(3):
        pod = world.pod(index)
        pod["metadata"]["labels"] = {"app": "web", "index": str(index)}
        pod["spec"]["nodeName"] = "n1"
        pods.put(f"default/pod-{index}", pod)
    nodes.put("n1", workloads.node("n1"))
    source = load.FakeLoad(time, serving=lambda: ["pod-0", "pod-1"])
    source.cores = 0.5

    class Two:
        def usage(self, namespace: str, pod: str, *, window_seconds: float) -> Any:
            return source.usage(namespace, pod, window_seconds=window_seconds) if pod != "pod-2" else {}

    made = serving.MetricsApis(pods=pods, nodes=nodes, usage=Two(), traffic=Traffic(), clock=time, window_seconds=5)
    return made.groups()


async def get(path: str, **query: str) -> tuple[int, Object]:
    group = path.split("/")[2]
    response = await groups()[group](exchange.Request("GET", path, tuple(query.items())))
    return response.status, json.loads(response.body)


async def test_pods_with_their_containers() -> None:
    code, body = await get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
    assert (code, body["kind"]) == (200, "PodMetricsList")
    assert [item["metadata"]["name"] for item in body["items"]] == ["pod-0", "pod-1"]
    (container,) = body["items"][0]["containers"]
    assert container == {"name": "main", "usage": {"cpu": "250000000n", "memory": "48828Ki"}}
    assert body["items"][0]["window"] == "5.000s"


async def test_selectors_names_and_what_is_not_known() -> None:
    _, body = await get("/apis/metrics.k8s.io/v1beta1/pods", labelSelector="index=1")
    assert [item["metadata"]["name"] for item in body["items"]] == ["pod-1"]
    code, body = await get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/pod-0")
    assert (code, body["kind"]) == (200, "PodMetrics")
    code, body = await get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/pod-2")
    assert (code, body["reason"]) == (404, "NotFound")
    code, _ = await get("/apis/metrics.k8s.io/v1beta1/pods", labelSelector="a in (")
    assert code == 400
    code, _ = await get("/apis/metrics.k8s.io/v1beta1/volumes")
    assert code == 404


async def test_a_node_is_the_sum_of_its_pods() -> None:
    _, body = await get("/apis/metrics.k8s.io/v1beta1/nodes")
    (item,) = body["items"]
    assert item["usage"]["cpu"] == "500000000n"


async def test_custom_metrics_of_one_and_of_all() -> None:
    base = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
    _, body = await get(f"{base}/pods/*/requests_in_flight", labelSelector="app=web")
    assert [(item["describedObject"]["name"], item["value"]) for item in body["items"]] == [
        ("pod-0", "1500m"),
        ("pod-1", "2"),
    ]
    _, body = await get(f"{base}/services/web/requests_in_flight")
    assert body["items"][0]["describedObject"]["kind"] == "Service"
    code, _ = await get(f"{base}/services/web/unheard_of")
    assert code == 404


async def test_external_metrics_name_their_object_in_the_selector() -> None:
    base = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/requests_in_flight"
    _, body = await get(base, labelSelector="service=web")
    assert body["items"][0]["value"] == "3500m"
    code, _ = await get(base)
    assert code == 404


def test_discovery_lists_them() -> None:
    found = groups()
    assert {one["name"] for one in found["metrics.k8s.io"].resources("v1beta1")} == {"nodes", "pods"}
    names = {one["name"] for one in found["custom.metrics.k8s.io"].resources("v1beta2")}
    assert "pods/requests_per_second" in names and "services/connections" in names
