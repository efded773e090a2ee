"""What the benchmarks of load balancers share: starting every candidate that can do a job, and CPU per request of one
run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench import candidates, cpu, engine, lab, load, peers, report, rounds

Started = dict[str, candidates.Running]


@dataclass
class Field:
    """The candidates that run, and those that do not, with the reason."""

    running: Started = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def wanted(lab_: lab.Lab, extra: Sequence[candidates.Candidate] = ()) -> list[candidates.Candidate]:
    """fairlead and its peers, or those that --only names."""
    everyone = [engine.Engine(part=lab_.options.engine_part), *extra, *peers.ALL]
    only = lab_.options.only.split(",") if lab_.options.only else []
    return [one for one in everyone if not only or one.name in only]


async def start_all(
    lab_: lab.Lab, job: candidates.Job, everyone: Sequence[candidates.Candidate] | None = None
) -> Field:
    """Starts each candidate; one that is missing or unable is noted, not dropped."""
    started = Field()
    for candidate in everyone or wanted(lab_):
        await start_one(lab_, started, candidate.name, candidate, job)
    return started


async def start_one(
    lab_: lab.Lab, field_: Field, name: str, candidate: candidates.Candidate, job: candidates.Job
) -> None:
    """Starts one candidate into the field, or notes why it is not there."""
    try:
        field_.running[name] = await candidate.start(lab_, job)
    except (candidates.Missing, candidates.Unable, RuntimeError) as error:
        field_.missing[name] = reason(error)
        lab_.progress(f"{name}: missing: {error}")


def reason(error: Exception) -> str:
    """Short enough for a table; the whole is in the progress."""
    first, _, rest = str(error).partition("\n")
    return f"{first} {rest.splitlines()[-1]}"[:300] if rest else first[:300]


async def closed_figures(lab_: lab.Lab, running: candidates.Running, spec: load.Closed) -> rounds.Figures:
    """One closed-loop run: CPU per request over all the candidate's processes, and what clients saw. A request that
    fails makes the run worthless, so it is an error."""
    before = cpu.family_seconds(running.pids())
    outcome = await load.closed(lab_, spec)
    used = cpu.family_seconds(running.pids()) - before
    if outcome.failed:
        raise RuntimeError(f"{running.address}: {outcome.why()}")
    return {
        "cpu_us_per_request": used / outcome.answered * 1e6,
        "requests_per_second": outcome.rate,
        "p50_ms": outcome.latency_ms.p50,
        "p99_ms": outcome.latency_ms.p99,
        "cpu_share": used / outcome.seconds,
    }


async def measure(
    lab_: lab.Lab, started: Field, count: int, spec: Callable[[str], load.Closed]
) -> dict[str, rounds.Figures]:
    """A short warm-up of each candidate, then `count` rounds in turn. A candidate that fails requests becomes
    missing."""
    for name, running in list(started.running.items()):
        outcome = await load.closed(lab_, _short(spec(running.address)))
        if outcome.failed:
            started.missing[name] = outcome.why()
            lab_.progress(f"{name}: {outcome.why()}")
            del started.running[name]

    async def one(running: candidates.Running) -> rounds.Figures:
        return await closed_figures(lab_, running, spec(running.address))

    return await rounds.in_turn(lab_, started.running, count, one, missing=started.missing)


def _short(spec: load.Closed) -> load.Closed:
    return load.Closed(target=spec.target, connections=spec.connections, seconds=min(spec.seconds, 0.5))


def at_most(
    figure: str, ours: rounds.Figures, theirs: Mapping[str, rounds.Figures], peer: str, limit: float
) -> report.Goal:
    """Ours / the peer's in a figure that is better when small."""
    measured = figure in ours and figure in theirs.get(peer, {})
    return report.Goal(f"{figure}: of {peer}'s", ours[figure] / theirs[peer][figure] if measured else None, limit)


def at_most_best(figure: str, ours: rounds.Figures, theirs: Mapping[str, rounds.Figures], limit: float) -> report.Goal:
    """Ours / the best peer's in a figure that is better when small."""
    best = min((one[figure] for one in theirs.values() if figure in one), default=None)
    return report.Goal(f"{figure}: of the best peer's", ours[figure] / best if best and figure in ours else None, limit)


def at_least_best(figure: str, ours: rounds.Figures, theirs: Mapping[str, rounds.Figures], text: str) -> report.Goal:
    """Ours / the best peer's in a figure that is better when large."""
    best = max((one[figure] for one in theirs.values() if figure in one), default=None)
    value = ours[figure] / best if best and figure in ours else None
    return report.Goal(text, value, 1.0, at_least=True)
