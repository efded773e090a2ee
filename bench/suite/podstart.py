"""`podstart`: from the API's answer to `scale` until a new pod has served its first request, for one pod and for
fifty at once.

The application's own start is measured in the same run: as many copies of it, started at once by a shell, from that
moment until each says that it listens.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import time
from collections.abc import Sequence

from bench import app, cluster, lab, load, report, rolling
from fairlead.api import kinds
from fairlead.client import protocol

SUMMARY = "from `scale` to the first request served by a new pod, one and fifty at once"


async def run(lab_: lab.Lab) -> report.Report:
    """Pods one at a time, then many at once; then the application alone."""
    many = 20 if lab_.quick else 50
    of = app.App(replicas=1)
    async with cluster.opened(lab_) as made:
        await made.start(app.write(lab_.path("app"), of.objects()))
        async with made.client() as client:
            singles = list[float]()
            for _ in range(lab_.rounds(20, 5)):
                singles += await _scaled(lab_, made, client, of, 1)
            lab_.progress(f"one pod: {statistics.median(singles):.1f} ms")
            at_once = await _scaled(lab_, made, client, of, many)
    alone = [(await _application(lab_, 1))[0] for _ in range(5)]
    together = await _application(lab_, many)
    ours = {
        "one_p50_ms": statistics.median(singles),
        "one_max_ms": max(singles),
        "app_one_ms": statistics.median(alone),
        "many": float(many),
        "many_p50_ms": statistics.median(at_once),
        "many_max_ms": max(at_once),
        "app_many_p50_ms": statistics.median(together),
        "app_many_max_ms": max(together),
    }
    over = [
        ours[f"{kind}_p50_ms"] - ours[f"app_{kind}{suffix}"] for kind, suffix in (("one", "_ms"), ("many", "_p50_ms"))
    ]
    return report.Report(
        bench="podstart",
        main="one_p50_ms",
        ours=ours,
        goals=[
            report.Goal("one pod: p50 over the application's own start, ms", over[0], 150),
            report.Goal(f"{many} pods: p50 over the application's own start, ms", over[1], 150),
        ],
    )


async def _scaled(
    lab_: lab.Lab, made: cluster.Cluster, client: protocol.Client, of: app.App, more: int
) -> Sequence[float]:
    """Milliseconds from the API's answer until each new pod has served."""
    target = load.Target(addresses=(made.edge,), host=of.host)
    rate = 500.0 if more == 1 else 1000.0
    running = load.start(lab_, load.Open(target=target, rate=rate, seconds=3600.0))
    await asyncio.sleep(0.3)
    await client.patch(kinds.DEPLOYMENT, of.name, {"spec": {"replicas": 1 + more}}, namespace="default")
    begin = time.time()
    await rolling.settled(client, of.name)
    await asyncio.sleep(0.5)
    running.enough()
    seen = await running.outcome()
    await client.patch(kinds.DEPLOYMENT, of.name, {"spec": {"replicas": 1}}, namespace="default")
    await rolling.settled(client, of.name)
    new = sorted((pod.first - begin) * 1e3 for pod in seen.pods.values() if pod.first > begin)
    if len(new) < more:
        raise RuntimeError(f"{len(new)} of {more} new pods served a request: {seen.why()}")
    return new


async def _application(lab_: lab.Lab, count: int) -> list[float]:
    """Milliseconds from the start of all copies, which a shell starts at once, until each listens and says so, sorted.
    They share the machine's cores as the pods do, their starts one after the other included."""
    begin = time.monotonic()
    line = f'i=0; while [ $i -lt {count} ]; do i=$((i+1)); "{load.binary()}" app & done; wait'
    shell = lab_.spawn(
        "applications", ["/bin/sh", "-c", line], env={"HOST": "127.0.0.1", "PORT": "0"}, stdout=subprocess.PIPE
    )

    def read() -> list[float]:
        assert shell.popen.stdout is not None
        took = []
        for _ in range(count):
            if shell.popen.stdout.readline():
                took.append((time.monotonic() - begin) * 1e3)
        return took

    took = await asyncio.to_thread(read)
    shell.stop()
    return took
