"""`simulated`: the scenario of `tail` and others under virtual time (`fairlead-engine simulate`): our algorithms by the
code that carries traffic, the peers' by their rules (engine/src/simulate/peers.rs), and the oracle.

Nothing is measured on a clock, so load on the machine does not matter, and p99.9 rests on as many requests as are
wanted: quantiles are means over seeds. What a simulation does not know: CPU, sockets, requests that arrive in bunches
because a process slept. `tail` measures with those.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench import engine, lab, load, oracle, report, rounds
from bench.suite import tail

SUMMARY = "the scenario of tail and others under virtual time: every algorithm, the peers' rules, an oracle"
_OURS = ("least-request", "prequal", "sed", "lc", "wlc", "nq", "power-of-two", "twos", "ewma", "random", "round-robin")
PEERS = ("haproxy-leastconn", "nginx-least-conn", "nginx-random-two", "envoy-least-request")
_FIGURES = {"p99_ms": "p99_seconds", "p999_ms": "p999_seconds"}


@dataclass(frozen=True)
class Scenario:
    """Servers, costs and load. In a burst, a tenth of a second in each half, three times as many requests arrive."""

    name: str
    spec: load.BackendSpec
    costs: tuple[float, ...]
    share: float = 0.7
    bursts: bool = False

    def steps(self, seconds: float) -> Iterator[tuple[float, float]]:
        """Seconds and requests a second."""
        rate = oracle.capacity(self.spec, self.costs) * self.share
        if not self.bursts:
            yield seconds, rate
            return
        for _ in range(int(seconds * 2)):
            yield from ((0.1, rate * 3), (0.4, rate / 2))


def scenarios() -> list[Scenario]:
    """`tail` first; in each of the others an algorithm made for `tail` alone would fail."""
    costs, spec = tuple(tail.costs()), tail.servers()
    even = load.BackendSpec(servers=10, workers=2)
    tiers = load.BackendSpec(servers=10, workers=2, slowness=(1.0,) * 5 + (5.0,) * 5)
    long = tuple(1.5 if at % 200 == 0 else cost for at, cost in enumerate(costs))
    return [
        Scenario("", spec, costs),
        Scenario("one_worker", msgspec.structs.replace(spec, workers=1), costs),
        Scenario("equal", even, costs, share=0.9),
        Scenario("tiers", tiers, costs),
        Scenario("bursts", even, costs, share=0.6, bursts=True),
        Scenario("long", msgspec.structs.replace(even, workers=4), long, share=0.6),
        Scenario("light", spec, costs, share=0.1),
    ]


async def run(lab_: lab.Lab) -> report.Report:
    """One run of the engine for each scenario, algorithm and seed."""
    seconds, seeds = lab_.seconds(60.0, 15.0), range(1, 1 + lab_.rounds(5, 3))
    names = [*_OURS, *PEERS, "oracle"]
    found: dict[str, rounds.Figures] = {name: {} for name in names}
    for scenario in scenarios():
        for name in names if not scenario.name else (*_OURS[:2], *PEERS, "oracle"):
            seen = [await one(scenario, name, seconds, seed) for seed in seeds]
            for figure, key in _FIGURES.items():
                label = f"{scenario.name}_{figure}".strip("_")
                found[name][label] = statistics.fmean(outcome[key] for outcome in seen) * 1e3
            lab_.progress(f"{scenario.name or 'tail'} {name}: {rounds.describe(found[name])}")
    return _report(found, seconds, len(seeds))


async def one(scenario: Scenario, algorithm: str, seconds: float, seed: int) -> dict[str, Any]:
    """What came of it (engine/src/simulate/world.rs, `Outcome`). Raises RuntimeError when the engine refuses."""
    steps = list(scenario.steps(seconds))
    servers = _servers(scenario.spec)
    lines: list[dict[str, Any]] = [{"algorithm": algorithm, "costs": scenario.costs, "seed": seed}]
    lines += [{"seconds": time, "rate": rate, "endpoints": servers, "more": True} for time, rate in steps]
    lines[-1] |= {"more": False, "finish": True}
    said = b"\n".join(msgspec.json.encode(line) for line in lines)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        engine.binary(), "simulate", stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 24
    )
    output, errors = await process.communicate(said)
    if process.returncode != 0:
        raise RuntimeError(f"the simulator refused {algorithm}: {errors.decode().strip()}")
    last: dict[str, Any] = msgspec.json.decode(output.splitlines()[-1])
    return last


def _servers(spec: load.BackendSpec) -> list[dict[str, Any]]:
    slowness, stalls = dict(enumerate(spec.slowness)), {stall.server: stall for stall in spec.stalls}

    def server(at: int) -> dict[str, Any]:
        stall = stalls.get(at, load.Stall(at, 0.0, 0.0))
        return {
            "name": f"10.0.0.{at}:80",
            "workers": spec.workers,
            "slowness": slowness.get(at, 1.0),
            "stall_every_seconds": stall.every_seconds,
            "stall_for_seconds": stall.for_seconds,
        }

    return [server(at) for at in range(spec.servers)]


def _report(found: dict[str, rounds.Figures], seconds: float, seeds: int) -> report.Report:
    peers = {name: found.pop(name) for name in PEERS}
    return report.Report(
        bench="simulated",
        main="p99_ms",
        ours=found["least-request"],
        peers=peers,
        more=found,
        goals=[*tail.goals(found, peers, found["oracle"]), *_elsewhere(found, peers)],
        notes=[f"means over {seeds} seeds of {seconds:g} simulated seconds each"],
    )


def _elsewhere(found: dict[str, rounds.Figures], peers: dict[str, rounds.Figures]) -> Sequence[report.Goal]:
    """Nowhere is the default more than a twentieth worse than the best peer."""
    figures = [figure for figure in found["least-request"] if figure not in _FIGURES]
    best = {figure: min(peer[figure] for peer in peers.values()) for figure in figures}
    return [
        report.Goal(f"least-request {figure} of the best peer's", found["least-request"][figure] / best[figure], 1.05)
        for figure in figures
    ]
