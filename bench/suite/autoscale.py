"""`autoscale`: the load steps from 50 to 500 requests a second: time until the last replica that is needed serves,
overshoot, replicas x seconds. With CPU and with requests in flight as the metric; once with a `scaleUp` policy of 900
% per second and a window of 2 s, once with all defaults.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from bench import app, cluster, lab, load, report, rounds
from fairlead.api import kinds
from fairlead.client import protocol

SUMMARY = "a step from 50 to 500 requests a second: time until the needed replicas serve, overshoot"
_LOW, _HIGH = 50.0, 500.0
_QUIET_SECONDS = 8.0
_WINDOW = ("--hpa-window", "2")
_FAST = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 900, "periodSeconds": 1}]}
}


class Case(msgspec.Struct, frozen=True):
    """One metric with one behaviour. `needed` replicas carry 500 requests a second within the metric's target."""

    name: str
    path: str
    metric: app.Object
    needed: int
    behavior: app.Object | None
    seconds: float
    limit_seconds: float
    flags: tuple[str, ...] = ()


def cases(*, quick: bool) -> list[Case]:
    """800 us of CPU each: 40m at 50 a second, 400m at 500, so 5 pods at 85 % of 100m. 40 ms in flight each: 2 and 20 in
    flight, so 5 pods at 4.4 each. Five, because that is what a tolerance of 10 % allows to be told from four and six
    on a machine that costs a few per cent more or less."""
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 85}},
    }
    target = {"type": "AverageValue", "averageValue": "4400m"}
    in_flight = {"type": "Pods", "pods": {"metric": {"name": "requests_in_flight"}, "target": target}}
    fast = [
        Case("cpu", "/burn?us=800", cpu, 5, _FAST, 10.0, 3.0, _WINDOW),
        Case("in_flight", "/slow?ms=40", in_flight, 5, _FAST, 8.0, 2.0, _WINDOW),
    ]
    slow = [
        Case("cpu_defaults", "/burn?us=800", cpu, 5, None, 40.0, 8.0),
        Case("in_flight_defaults", "/slow?ms=40", in_flight, 5, None, 40.0, 8.0),
    ]
    return fast if quick else [*fast, *slow]


async def run(lab_: lab.Lab) -> report.Report:
    """A cluster for each case."""
    ours: rounds.Figures = {}
    goals = []
    for case in cases(quick=lab_.quick):
        found = await _one(lab_, case)
        lab_.progress(f"{case.name}: {found}")
        ours.update({f"{case.name}_{figure}": value for figure, value in found.items()})
        what, value = ("all needed replicas serve", found.get("last_needed_seconds"))
        if case.behavior is None:
            what, value = ("the first wave serves", found.get("first_wave_seconds"))
        goals.append(report.Goal(f"{case.name}: seconds until {what}", value, case.limit_seconds))
        goals.append(report.Goal(f"{case.name}: failed requests", found["failed"], 0))
    return report.Report(bench="autoscale", main="cpu_last_needed_seconds", ours=ours, goals=goals)


async def _one(lab_: lab.Lab, case: Case) -> rounds.Figures:
    of = app.App(replicas=1)
    scaler = app.autoscaler(of.name, case.metric, behavior=case.behavior)
    async with cluster.opened(lab_, flags=case.flags) as made:
        await made.start(app.write(lab_.path("app"), [*of.objects(), scaler]))
        target = load.Target(addresses=(made.edge,), host=of.host, paths=(case.path,))
        low = load.start(lab_, load.Open(target=target, rate=_LOW, seconds=3600.0))
        await asyncio.sleep(_QUIET_SECONDS)
        high = load.start(lab_, load.Open(target=target, rate=_HIGH - _LOW, seconds=case.seconds, connections=256))
        step = time.time()
        async with made.client() as client:
            counts = await _watch(client, of.name, case.seconds)
        seen = await high.outcome()
        low.enough()
        quiet = await low.outcome()
    first = sorted(pod.first - step for pod in seen.pods.values())
    found = {
        "replicas_before": float(counts[0]),
        "replicas_most": float(max(counts)),
        "overshoot": float(max(counts) - case.needed),
        "replica_seconds": sum(counts) * case.seconds / len(counts),
        "p99_ms": seen.latency_ms.p99,
        "failed": float(seen.failed + quiet.failed),
    }
    if len(first) > counts[0]:
        found["first_wave_seconds"] = first[counts[0]]
    if len(first) >= case.needed:
        found["last_needed_seconds"] = first[case.needed - 1]
    return found


async def _watch(client: protocol.Client, name: str, seconds: float) -> list[int]:
    """The Deployment's replicas, five times a second."""
    counts = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = await client.get(kinds.DEPLOYMENT, name, namespace="default")
        counts.append(int(found["spec"]["replicas"]))
        await asyncio.sleep(0.2)
    return counts
