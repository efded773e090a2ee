"""`reload`: the configuration changes again and again under load, with 100 open WebSockets: no request fails, no
socket closes.

Ours: 1,000 table changes in 30 s, endpoints and routes in turn. Peers change in their own way: HAProxy and nginx by a
reload (which is a new process each time, so one a second), Envoy by a new endpoint file. Requests come from an open
loop over kept and new connections; the sockets speak once a second and must be heard.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from bench import candidates, cpu, engine, lab, load, proxying, report, rounds

SUMMARY = "configuration changes under load with 100 open WebSockets: failed requests and closed sockets"
_RATE, _SOCKETS, _CHANGES = 1000.0, 100, 1000
_PEER_CHANGES = {"haproxy": 30, "nginx": 30, "envoy": 1000}
_FULL_SECONDS = 30.0


async def run(lab_: lab.Lab) -> report.Report:
    """One candidate after the other: this is about failures, not about speed."""
    seconds = lab_.seconds(_FULL_SECONDS, 8.0)
    backend = await load.backend(lab_, load.BackendSpec(servers=4))
    jobs = [candidates.Job(backends=backend.addresses[:count]) for count in (4, 3)]
    field, found = proxying.Field(), dict[str, rounds.Figures]()
    for candidate in proxying.wanted(lab_):
        await proxying.start_one(lab_, field, candidate.name, candidate, jobs[0])
        running = field.running.get(candidate.name)
        if running is None:
            continue
        changes = round(_PEER_CHANGES.get(candidate.name, _CHANGES) * seconds / _FULL_SECONDS)
        found[candidate.name] = await _under_load(lab_, running, jobs, changes, seconds)
        running.stop()
        lab_.progress(f"{candidate.name}: {rounds.describe(found[candidate.name])}")
    ours = found.pop("fairlead", {})
    goals = [
        report.Goal("failed requests", ours.get("failed"), 0),
        report.Goal("closed WebSockets", ours.get("closed_sockets"), 0),
        report.Goal("table changes", ours.get("changes"), round(_CHANGES * seconds / _FULL_SECONDS), at_least=True),
    ]
    return report.Report(bench="reload", main="p99_ms", ours=ours, peers=found, missing=field.missing, goals=goals)


async def _under_load(
    lab_: lab.Lab, running: candidates.Running, jobs: list[candidates.Job], changes: int, seconds: float
) -> rounds.Figures:
    target = load.Target(addresses=(running.address,))
    hold = load.Hold(target=target, connections=_SOCKETS, seconds=seconds + 3, upgrade=True, period_seconds=1.0)
    sockets = load.start(lab_, hold)
    await sockets.line()
    kept = load.start(lab_, load.Open(target=target, rate=_RATE * 0.8, seconds=seconds + 1))
    fresh = msgspec.structs.replace(target, new_connections=True, sources=16)
    new = load.start(lab_, load.Open(target=fresh, rate=_RATE * 0.2, seconds=seconds + 1))
    before, latencies = cpu.family_seconds(running.pids()), []
    begin = time.monotonic()
    for turn in range(changes):
        await asyncio.sleep(max(0.0, begin + turn * seconds / changes - time.monotonic()))
        started = time.monotonic()
        await _change(running, jobs, turn)
        latencies.append(time.monotonic() - started)
    held, seen, seen_new = await asyncio.gather(sockets.held(), kept.outcome(), new.outcome())
    used = cpu.family_seconds(running.pids()) - before
    for outcome in (seen, seen_new):
        if outcome.failed:
            lab_.progress(outcome.why())
    return {
        "changes": float(changes),
        "failed": float(seen.failed + seen_new.failed),
        "closed_sockets": float(held.closed + held.failed + (_SOCKETS - held.opened)),
        "unheard": float(held.said - held.heard),
        "p99_ms": seen.latency_ms.p99,
        "p99_new_ms": seen_new.latency_ms.p99,
        "change_p99_ms": sorted(latencies)[int(len(latencies) * 0.99)] * 1e3,
        "cpu_seconds": used,
    }


async def _change(running: candidates.Running, jobs: list[candidates.Job], turn: int) -> None:
    """An endpoint more or less; for ours every other change is of the structure: a route and a Backend come or go."""
    if isinstance(running, engine.Running) and turn % 2:
        return await running.change_structure(jobs[0], extra=turn % 4 == 1)
    return await running.change(jobs[(turn // 2) % 2 if isinstance(running, engine.Running) else turn % 2])
