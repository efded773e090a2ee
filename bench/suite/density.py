"""`density`: 300 pods that do nothing, probed every 10 s: what fairlead, engine and shims use of a core and of
memory."""

from __future__ import annotations

import argparse
import asyncio
import time

from bench import app, cluster, lab, report

SUMMARY = "300 idle pods: CPU of fairlead, engine and shims, memory of ours per pod"


def add_options(parser: argparse.ArgumentParser) -> None:
    """--pods N."""
    parser.add_argument("--pods", type=int, default=0, help="how many pods (300; quick: 100)")


async def run(lab_: lab.Lab) -> report.Report:
    """One cluster, measured once it is quiet."""
    pods = lab_.options.pods or (100 if lab_.quick else 300)
    seconds = lab_.seconds(60.0, 15.0)
    async with cluster.opened(lab_) as made:
        await made.start()
        empty = made.memory_mb()
        begin = time.monotonic()
        await made.start(app.write(lab_.path("app"), app.App(replicas=pods, probe_seconds=10, cpu="1m").objects()))
        took = time.monotonic() - begin
        lab_.progress(f"{pods} pods in {took:.1f} s")
        await asyncio.sleep(3.0)
        parts = made.processes()
        before = {part: cluster.own_seconds(pids) for part, pids in parts.items()}
        await asyncio.sleep(seconds)
        used = {part: (cluster.own_seconds(pids) - before[part]) / seconds * 100 for part, pids in parts.items()}
        full = made.memory_mb()
    ours = {
        "cpu_percent": sum(used.values()),
        "memory_mb_per_pod": (sum(full.values()) - sum(empty.values())) / pods,
        **{f"{part}_cpu_percent": value for part, value in used.items()},
        **{f"{part}_memory_mb": value for part, value in full.items()},
        "pods": float(pods),
        "all_ready_seconds": took,
    }
    return report.Report(
        bench="density",
        main="cpu_percent",
        ours=ours,
        goals=[
            report.Goal("per cent of a core of ours", ours["cpu_percent"], 5.0),
            report.Goal("MB (PSS) of ours per pod", ours["memory_mb_per_pod"], 1.5),
        ],
    )
