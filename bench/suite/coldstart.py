"""`coldstart`: the first request to a Service whose workload is at zero replicas, held until a pod answers it; over the
application's own start, measured in the same run. One request, never retried. (KEDA's HTTP add-on: 3.35 s.)"""

from __future__ import annotations

import statistics
import time

from bench import app, cluster, lab, load, report, rolling
from fairlead.api import kinds
from fairlead.client import protocol

SUMMARY = "the first request at zero replicas, over the application's own start"


async def run(lab_: lab.Lab) -> report.Report:
    """Down to zero and one request, again and again."""
    of = app.App(replicas=1, protocol="http", annotations={"fairlead.dev/idle-seconds": "3600"})
    answers, failed = list[float](), 0
    async with cluster.opened(lab_) as made:
        await made.start(app.write(lab_.path("app"), of.objects()))
        async with made.client() as client:
            for turn in range(lab_.rounds(20, 5)):
                await _to_zero(client, of.name)
                seen = await _one(lab_, made, of)
                failed += seen.failed
                answers += [seen.latency_ms.max] if seen.answered else []
                lab_.progress(f"round {turn + 1}: {seen.latency_ms.max:.1f} ms, {seen.why()}")
    alone = [await _application(lab_) for _ in range(5)]
    ours = {"failed": float(failed), "app_start_ms": statistics.median(alone)}
    if answers:
        ours |= {"p50_ms": statistics.median(answers), "max_ms": max(answers)}
    over = ours["p50_ms"] - ours["app_start_ms"] if answers else None
    return report.Report(
        bench="coldstart",
        main="p50_ms",
        ours=ours,
        missing={"keda-http-add-on": "needs a cluster with KEDA in it; 3,350 ms is its own report"},
        goals=[
            report.Goal("ms over the application's own start", over, 50),
            report.Goal("failed requests", ours["failed"], 0),
        ],
    )


async def _to_zero(client: protocol.Client, name: str) -> None:
    await client.patch(kinds.DEPLOYMENT, name, {"spec": {"replicas": 0}}, namespace="default")
    await rolling.settled(client, name)


async def _one(lab_: lab.Lab, made: cluster.Cluster, of: app.App) -> load.Outcome:
    target = load.Target(addresses=(made.edge,), host=of.host, timeout_seconds=10.0)
    return await load.closed(lab_, load.Closed(target=target, connections=1, requests=1, seconds=10.0))


async def _application(lab_: lab.Lab) -> float:
    port = lab.free_port()
    begin = time.monotonic()
    copy = lab_.spawn("application", [load.binary(), "app"], env={"HOST": "127.0.0.1", "PORT": str(port)})
    first = await cluster.first_answer(f"127.0.0.1:{port}", "app.localhost")
    copy.stop()
    return (first - begin) * 1e3
