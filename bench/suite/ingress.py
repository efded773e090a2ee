"""`ingress`: 1,000 and 5,000 Ingresses: from applying them until all are served; then from one change to traffic; CPU
and memory of fairlead and the engine; requests that failed during 500 edits of a live route under load."""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import time

from bench import app, cluster, lab, load, report, rounds
from fairlead.api import kinds
from fairlead.client import protocol

SUMMARY = "1,000 and 5,000 Ingresses: time to all served, one change to traffic, failures during edits"
_AT_ONCE = 32


def add_options(parser: argparse.ArgumentParser) -> None:
    """--counts N,N --edits N."""
    parser.add_argument("--counts", default="", help="numbers of Ingresses (1000,5000; quick: 300,1000)")
    parser.add_argument("--edits", type=int, default=0, help="edits under load (500; quick: 100)")


async def run(lab_: lab.Lab) -> report.Report:
    """One cluster for each number."""
    counts = [int(one) for one in (lab_.options.counts or ("300,1000" if lab_.quick else "1000,5000")).split(",")]
    ours: rounds.Figures = {}
    for count in counts:
        ours.update(await _with(lab_, count))
    goals = [
        *(
            report.Goal(f"p99 ms from a change to traffic, {n} Ingresses", ours[f"change_p99_ms_{n}"], 50)
            for n in counts
        ),
        *(report.Goal(f"failed during edits, {n} Ingresses", ours[f"edits_failed_{n}"], 0) for n in counts),
    ]
    return report.Report(bench="ingress", main=f"change_p99_ms_{counts[-1]}", ours=ours, goals=goals)


def _ingress(name: str, host: str) -> app.Object:
    made = app.App(name=name).ingress()
    rule = made["spec"]["rules"][0]
    rule["host"] = host
    rule["http"]["paths"][0]["backend"]["service"]["name"] = "app"
    return made


async def _with(lab_: lab.Lab, count: int) -> rounds.Figures:
    of = app.App(replicas=2)
    async with cluster.opened(lab_) as made:
        await made.start(app.write(lab_.path("app"), of.objects()))
        async with made.client() as client:
            cpu_before, begin = made.cpu_seconds(), time.monotonic()
            await _create(client, count)
            created = time.monotonic()
            await asyncio.gather(*(_served(made, f"h{at}.test") for at in range(0, count, max(1, count // 50))))
            await _served(made, f"h{count - 1}.test")
            served = time.monotonic()
            used = made.cpu_seconds() - cpu_before
            lab_.progress(f"{count} created in {created - begin:.2f} s, all served in {served - begin:.2f} s")
            changes = [await _change(made, client, turn) for turn in range(30 if lab_.quick else 100)]
            lab_.progress(f"changes: the first {changes[0]:.1f} ms, the slowest {max(changes):.1f} ms")
            edits = lab_.options.edits or (100 if lab_.quick else 500)
            seen = await _edits(lab_, made, client, of, edits)
            memory_mb = made.memory_mb()
    return {
        f"all_served_seconds_{count}": served - begin,
        f"change_p50_ms_{count}": statistics.median(changes),
        f"change_p99_ms_{count}": sorted(changes)[math.ceil(len(changes) * 0.99) - 1],
        f"edits_failed_{count}": float(seen.failed),
        f"cpu_seconds_{count}": used,
        f"fairlead_memory_mb_{count}": memory_mb["fairlead"],
        f"engine_memory_mb_{count}": memory_mb["engine"],
    }


async def _create(client: protocol.Client, count: int) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(at: int) -> None:
        async with gate:
            await client.create(kinds.INGRESS, _ingress(f"i{at}", f"h{at}.test"), namespace="default")

    await asyncio.gather(*(one(at) for at in range(count)))


async def _served(made: cluster.Cluster, host: str) -> float:
    return await cluster.first_answer(made.edge, host, seconds=120)


async def _change(made: cluster.Cluster, client: protocol.Client, turn: int) -> float:
    """Milliseconds from the API's answer to a new host until it is served."""
    host = f"changed-{turn}.test"
    change = _ingress("i0", host)["spec"]
    await client.patch(kinds.INGRESS, "i0", {"spec": change}, namespace="default")
    begin = time.monotonic()
    return (await _served(made, host) - begin) * 1e3


async def _edits(
    lab_: lab.Lab, made: cluster.Cluster, client: protocol.Client, of: app.App, edits: int
) -> load.Outcome:
    """Edits of the route that carries the load: a path comes and goes beside it."""
    target = load.Target(addresses=(made.edge,), host=of.host)
    running = load.start(lab_, load.Open(target=target, rate=500.0, seconds=3600.0))
    for turn in range(edits):
        spec = of.ingress()["spec"]
        if turn % 2 == 0:
            first = spec["rules"][0]["http"]["paths"][0]
            spec["rules"][0]["http"]["paths"].append({**first, "path": f"/extra-{turn}"})
        await client.patch(kinds.INGRESS, of.name, {"spec": spec}, namespace="default")
    await asyncio.sleep(0.5)
    running.enough()
    seen = await running.outcome()
    lab_.progress(f"{edits} edits: {seen.why()}")
    return seen
