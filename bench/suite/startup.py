"""`startup`: seconds from `fairlead up examples/my-app` to the first 200 through the Ingress, and what of ours then
is in memory.

The application's own start is measured apart, in the same run: its command alone, until it answers its readiness path.
"""

from __future__ import annotations

import os
import statistics
import time

from bench import cluster, lab, report, rounds

SUMMARY = "seconds from `fairlead up` to the first answer through the Ingress; memory of fairlead, engine and shims"
_EXAMPLE = lab.ROOT / "examples" / "my-app"
_HOST = "my-app.localhost"


async def run(lab_: lab.Lab) -> report.Report:
    """Application alone and fairlead in turn."""
    samples, alone, three = list[rounds.Figures](), list[float](), list[float]()
    for turn in range(lab_.rounds(9, 4)):
        alone.append(await _application(lab_, 1))
        three.append(await _application(lab_, 3))
        samples.append(await _up(lab_))
        lab_.progress(f"round {turn + 1}: application {alone[-1]:.3f} s, {rounds.describe(samples[-1])}")
    ours = rounds.medians(samples)
    ours["app_start_seconds"] = statistics.median(alone)
    ours["app_start_of_three_seconds"] = statistics.median(three)
    ours["over_app_seconds"] = ours["first_answer_seconds"] - ours["app_start_seconds"]
    return report.Report(
        bench="startup",
        main="first_answer_seconds",
        ours=ours,
        missing={
            "kind, k3d, minikube": "each needs a container engine with node images, which this run does not install"
        },
        goals=[
            report.Goal("seconds over the application's own start", ours["over_app_seconds"], 1.0),
            report.Goal("PSS of fairlead, engine and shims in MB", ours["memory_mb"], 100.0),
        ],
    )


async def _application(lab_: lab.Lab, count: int) -> float:
    """Seconds until the first of `count` copies, started together, answers."""
    ports = [lab.free_port() for _ in range(count)]
    python = os.environ.get("BENCH_PYTHON", "python3")
    begin = time.monotonic()
    copies = [
        lab_.spawn("application", [python, str(_EXAMPLE / "server.py")], env={"HOST": "127.0.0.1", "PORT": str(port)})
        for port in ports
    ]
    first = await cluster.first_answer(f"127.0.0.1:{ports[0]}", _HOST, path="/healthz")
    for copy in copies:
        copy.stop()
    return first - begin


async def _up(lab_: lab.Lab) -> rounds.Figures:
    async with cluster.opened(lab_) as made:
        begin = time.monotonic()
        process = made.up(_EXAMPLE, detach=False)
        first = await cluster.first_answer(made.edge, _HOST, process=process)
        settled = time.monotonic() + 1.0
        while time.monotonic() < settled:
            await cluster.first_answer(made.edge, _HOST)
        used = made.memory_mb()
        figures = {"first_answer_seconds": first - begin, "memory_mb": sum(used.values())}
        figures.update({f"{part}_memory_mb": value for part, value in used.items()})
        process.stop(grace_seconds=30)
        return figures
