"""`kill`: `kill -9` of fairlead and of the engine's worker, again and again, under 1,000 requests a second through
the Ingress.

Without fairlead nothing may fail, and its next start adopts everything. Without the worker only what was in flight on
it may fail, and the master has another one serving in under half a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import time

import psutil

from bench import app, cluster, lab, report, rolling

SUMMARY = "kill -9 of fairlead and of the engine under load: failed requests, time until traffic flows again"
_RATE = 1000.0
_AT_ONCE_SECONDS = 0.5


def add_options(parser: argparse.ArgumentParser) -> None:
    """--kills N."""
    parser.add_argument("--kills", type=int, default=0, help="how many of each (20; quick: 3)")


async def run(lab_: lab.Lab) -> report.Report:
    """First fairlead, then the engine."""
    count = lab_.options.kills or (3 if lab_.quick else 20)
    of = app.App(replicas=4)
    async with cluster.opened(lab_) as made:
        await made.start(app.write(lab_.path("app"), of.objects()))
        before = _pods(made)
        way = rolling.Way("ingress", made.edge, of.host)
        async with rolling.under_load(lab_, [way], rate=_RATE) as without_fairlead:
            back = [await _kill_fairlead(lab_, made) for _ in range(count)]
        kept = _pods(made) == before
        killed: list[float] = []
        async with rolling.under_load(lab_, [way], rate=_RATE) as without_worker:
            served = [await _kill_worker(lab_, made, of.host, killed) for _ in range(count)]
    failures = [at for one in without_worker.values() for at, _, _ in one.failed_at]
    late = [at for at in failures if not any(0 <= at - moment <= _AT_ONCE_SECONDS for moment in killed)]
    ours = {
        "engine_back_max_seconds": max(served),
        "engine_back_seconds": statistics.median(served),
        "engine_failed_per_kill": sum(one.failed for one in without_worker.values()) / count,
        "engine_failed_later": float(len(late)),
        "fairlead_failed": float(sum(one.failed for one in without_fairlead.values())),
        "fairlead_back_seconds": statistics.median(back),
        "pods_kept": float(kept),
        "kills": float(count),
    }
    for seen in (without_fairlead, without_worker):
        for key, one in seen.items():
            lab_.progress(f"{key}: {one.why()}")
    return report.Report(
        bench="kill",
        main="engine_back_max_seconds",
        ours=ours,
        goals=[
            report.Goal("failed while fairlead was killed", ours["fairlead_failed"], 0),
            report.Goal("seconds until the engine serves again, at worst", ours["engine_back_max_seconds"], 0.5),
            report.Goal("failed later than the engine's death", ours["engine_failed_later"], 0),
            report.Goal("pods kept over all kills of fairlead", ours["pods_kept"], 1, at_least=True),
        ],
    )


def _pods(made: cluster.Cluster) -> set[int]:
    """The processes that shims run."""
    return {child.pid for shim in made.processes()["shims"] for child in psutil.Process(shim).children()}


async def _kill_fairlead(lab_: lab.Lab, made: cluster.Cluster) -> float:
    for pid in made.processes()["fairlead"]:
        os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(1.0)  # traffic must go on without it
    begin = time.monotonic()
    await made.start()
    seconds = time.monotonic() - begin
    lab_.progress(f"fairlead is back in {seconds:.2f} s")
    return seconds


async def _kill_worker(lab_: lab.Lab, made: cluster.Cluster, host: str, killed: list[float]) -> float:
    worker = next(pid for pid in made.processes()["engine"] if "worker" in psutil.Process(pid).cmdline())
    begin = time.monotonic()
    killed.append(time.time())
    os.kill(worker, signal.SIGKILL)
    await cluster.first_answer(made.edge, host)
    seconds = time.monotonic() - begin
    lab_.progress(f"the engine serves again after {seconds:.3f} s")
    await asyncio.sleep(1.0)
    return seconds
