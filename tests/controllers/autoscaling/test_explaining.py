"""An explanation names each metric, its samples, what it asked for and what held it back."""

import json

from fairlead.api import kinds
from fairlead.client import exchange
from fairlead.controllers.autoscaling import explaining

from ..test_autoscaling_flow import hpa, running, web

PATH = "/apis/explain.fairlead.dev/v1alpha1/namespaces/default/horizontalpodautoscalers/"


async def test_the_last_decision_is_explained() -> None:
    async with running(web(), hpa()) as bench:
        bench.load.cores = 0.45
        await bench.run(10)
        served = bench.cluster.suite.served()[explaining.GROUP]
        response = await served(exchange.Request("GET", PATH + "web"))
        found = json.loads(response.body)
        assert found["kind"] == "Explanation"
        (metric,) = found["metrics"]
        assert metric["asks"] >= 7 and len(metric["samples"]) == found["current"]
        assert any("ScaleUpLimit" in reason for reason in found["heldBack"])
        lines = explaining.text(found)
        assert any(line.startswith("metric     cpu resource utilization") for line in lines)
        assert any("s ago" in line for line in lines)
        await bench.cluster.client.delete(kinds.HPA, "web", namespace="default")
        await bench.run(2)
        assert (await served(exchange.Request("GET", PATH + "web"))).status == 404


async def test_a_metric_that_cannot_be_had_says_why() -> None:
    async with running(web(request=None), hpa()) as bench:
        await bench.run(3)
        found = bench.cluster.suite.autoscalers.explanation("default/web")
        assert found is not None
        assert "missing request for cpu" in found["metrics"][0]["problem"]
        assert any("cannot tell" in line for line in explaining.text(found))
