"""`tail`: ten endpoints, one of them ten times slower and one that stalls at times; requests of mixed cost from a
fixed file; Poisson arrivals at 70 % of the capacity, open loop, fixed seed. p99 and p99.9 for each algorithm and each
peer's best ones, and for an oracle that knows every cost and every queue. `--quick` measures only those that have a
goal, for 6 seconds each; p99.9 then rests on 15 requests, so what it decides is better decided by `--quick --seconds
20` (150 s in all). `simulated` is the same without a clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from bench import candidates, engine, lab, load, oracle, proxying, report, rounds
from bench import peers as all_peers

SUMMARY = "uneven endpoints, mixed costs, open loop at 70 % load: p99 and p99.9 of every algorithm and the peers"
COSTS = Path(__file__).resolve().parent.parent / "data" / "costs.txt"
_SEED, _LOAD, _SLOW, _STALLS = 7, 0.7, 3, 6
_OURS = ("least-request", "prequal", "round-robin", "power-of-two", "ewma", "random")
_MORE = ("weighted-round-robin", "maglev", "ring-hash")
_QUICK = 2  # those with a goal
_PEERS = {"haproxy": ("least", "two"), "nginx": ("least", "two"), "envoy": ("least",)}


def servers() -> load.BackendSpec:
    """The ten endpoints."""
    slowness = tuple(10.0 if at == _SLOW else 1.0 for at in range(10))
    stall = load.Stall(server=_STALLS, every_seconds=3.0, for_seconds=0.3)
    return load.BackendSpec(servers=10, workers=2, slowness=slowness, stalls=(stall,))


def costs() -> list[float]:
    """Seconds of each request, in order."""
    return [int(line.rpartition("=")[2]) / 1e6 for line in COSTS.read_text().splitlines()]


async def run(lab_: lab.Lab) -> report.Report:
    """Everything is started first; then each has its turns."""
    spec = servers()
    backend = await load.backend(lab_, spec)
    rate = oracle.capacity(spec, costs()) * _LOAD
    seconds = lab_.seconds(15.0, 6.0)
    field = proxying.Field()
    for name, candidate, algorithm in _wanted(lab_):
        job = candidates.Job(backends=backend.addresses, algorithm=algorithm, hash_on="path")
        await proxying.start_one(lab_, field, name, candidate, job)

    async def measure(running: candidates.Running) -> rounds.Figures:
        return await _measure(lab_, backend, running, rate, seconds)

    found = await rounds.in_turn(lab_, field.running, lab_.rounds(3, 1), measure)
    due = oracle.arrivals(rate, seconds, _SEED)
    ideal = oracle.latencies(spec, costs(), due)
    found["oracle"] = {"p99_ms": oracle.quantile(ideal, 0.99) * 1e3, "p999_ms": oracle.quantile(ideal, 0.999) * 1e3}
    return _report(found, field.missing, rate)


def _wanted(lab_: lab.Lab) -> list[tuple[str, candidates.Candidate, str]]:
    ours = _OURS[:_QUICK] if lab_.quick else (*_OURS, *_MORE)
    part = lab_.options.engine_part
    all_: list[tuple[str, candidates.Candidate, str]] = []
    all_ += [(f"fairlead {algorithm}", engine.Engine(part=part), algorithm) for algorithm in ours]
    all_ += [(f"{peer.name} {algorithm}", peer, algorithm) for peer in all_peers.ALL for algorithm in _PEERS[peer.name]]
    only = lab_.options.only.split(",") if lab_.options.only else []
    return [one for one in all_ if not only or one[1].name in only]


async def _measure(
    lab_: lab.Lab, backend: load.Backend, running: candidates.Running, rate: float, seconds: float
) -> rounds.Figures:
    await _reset(backend)
    target = load.Target(addresses=(running.address,), paths_file=str(COSTS))
    seen = await load.open_loop(
        lab_,
        load.Open(target=target, rate=rate, seconds=seconds, seed=_SEED, poisson=True, connections=512),
    )
    return {
        "p99_ms": seen.latency_ms.p99,
        "p999_ms": seen.latency_ms.p999,
        "p50_ms": seen.latency_ms.p50,
        "mean_ms": seen.latency_ms.mean,
        "failed": float(seen.failed),
        "late_p99_ms": seen.late_ms.p99,
    }


async def _reset(backend: load.Backend) -> None:
    """Every run begins with empty queues and the same phase of the stalls."""
    reader, writer = await asyncio.open_connection("127.0.0.1", backend.ports[0])
    writer.write(b"GET /reset HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()


def _report(found: dict[str, rounds.Figures], missing: dict[str, str], rate: float) -> report.Report:
    ours = {name: found.pop(name) for name in list(found) if name.startswith("fairlead ")}
    ideal = found.pop("oracle")
    return report.Report(
        bench="tail",
        main="p99_ms",
        ours=ours.get("fairlead least-request", {}),
        peers=found,
        more={**ours, "oracle": ideal},
        missing=missing,
        goals=goals({name.removeprefix("fairlead "): figures for name, figures in ours.items()}, found, ideal),
        notes=[f"{rate:,.0f} requests a second were due; the oracle knows every cost, queue and stall"],
    )


def goals(
    ours: Mapping[str, rounds.Figures], peers: Mapping[str, rounds.Figures], ideal: rounds.Figures
) -> list[report.Goal]:
    """The default at most what the best peer has, and prequal less."""
    found = []
    for algorithm, limit in (("least-request", 1.0), ("prequal", 0.8)):
        for figure in ("p99_ms", "p999_ms"):
            best = min((one[figure] for one in peers.values()), default=None)
            value = ours.get(algorithm, {}).get(figure)
            found.append(_goal(f"{algorithm} {figure} of the best peer's", value, best, limit, ideal[figure]))
    return found


def _goal(text: str, value: float | None, best: float | None, limit: float, ideal: float) -> report.Goal:
    """The limit is eased to half of the gap to the oracle where that is above it."""
    if value is None or best is None:
        return report.Goal(text, None, limit)
    eased = max(limit, (ideal + (best - ideal) / 2) / best) if limit < 1 else limit
    return report.Goal(text, value / best, round(eased, 4))
