"""`metrics`: what measuring CPU and memory of 300 pods once a second costs: the node agent's own sampler on 300
processes."""

from __future__ import annotations

import asyncio
import time

from bench import lab, report
from fairlead.base import clock
from fairlead.node import usage

SUMMARY = "CPU of one-second metrics for 300 pods"
_PODS = 300


async def run(lab_: lab.Lab) -> report.Report:
    """The sampler runs in this process, which does nothing else meanwhile."""
    pods = {("default", f"pod-{at}", "app"): lab_.spawn("pod", ["sleep", "3600"]).pid for at in range(_PODS)}
    sampler = usage.PodUsage(lambda: pods, timer=clock.SystemClock())
    running = asyncio.create_task(sampler.run())
    await asyncio.sleep(2.5)
    seconds = lab_.seconds(30.0, 10.0)
    before, begin = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    percent = (time.process_time() - before) / (time.monotonic() - begin) * 100
    running.cancel()
    known = sum(bool(sampler.usage(namespace, name)) for namespace, name, _ in pods)
    ours = {"cpu_percent": percent, "pods": float(_PODS), "pods_measured": float(known)}
    return report.Report(
        bench="metrics",
        main="cpu_percent",
        ours=ours,
        goals=[
            report.Goal("per cent of a core", percent, 3.0),
            report.Goal("pods measured", ours["pods_measured"], _PODS, at_least=True),
        ],
    )
