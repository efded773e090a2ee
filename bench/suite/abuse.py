"""`abuse`: what other clients feel of those that take what they can get. An open loop on kept connections is measured
alone and beside each kind of abuse: 5,000 idle connections, 1,000 slow heads, 1,000 slow bodies, 200 slow readers of
1 MiB answers, 1,000 connections a second that are reset. The goal: p99 under twice the one without."""

from __future__ import annotations

import msgspec

from bench import candidates, lab, load, proxying, report, rounds

SUMMARY = "p99 of other clients beside idle, slow and resetting ones, against the peers"
_RATE = 2000.0
_LARGE = f"/bytes?n={1 << 20}"
_KINDS = {
    "idle": load.Abuse(target=load.Target(addresses=()), kind="idle", connections=5000, seconds=0),
    "headers": load.Abuse(target=load.Target(addresses=()), kind="headers", connections=1000, seconds=0),
    "bodies": load.Abuse(target=load.Target(addresses=(), method="POST"), kind="bodies", connections=1000, seconds=0),
    "readers": load.Abuse(
        target=load.Target(addresses=(), paths=(_LARGE,)), kind="readers", connections=200, seconds=0
    ),
    "resets": load.Abuse(target=load.Target(addresses=()), kind="resets", connections=0, seconds=0, per_second=1000.0),
}


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    backend = await load.backend(lab_, load.BackendSpec(servers=4))
    started = await proxying.start_all(lab_, candidates.Job(backends=backend.addresses))
    seconds = lab_.seconds(4.0, 1.0)

    async def one(running: candidates.Running) -> rounds.Figures:
        found = {"p99_ms_alone": await _p99_ms(lab_, running.address, seconds)}
        for kind in _KINDS:
            found[f"p99_ms_{kind}"] = await _beside(lab_, running.address, kind, seconds)
        return found

    figures = await rounds.in_turn(lab_, started.running, lab_.rounds(5, 1), one, missing=started.missing)
    for of_one in figures.values():
        of_one["worst_ratio"] = max(_ratio(of_one, kind) for kind in _KINDS)
    ours = figures.pop("fairlead", {})
    goals = [
        report.Goal(f"p99 beside {kind}, of the p99 alone", _ratio(ours, kind) if ours else None, 2.0)
        for kind in _KINDS
    ]
    return report.Report(
        bench="abuse", main="worst_ratio", ours=ours, peers=figures, missing=started.missing, goals=goals
    )


async def _p99_ms(lab_: lab.Lab, address: str, seconds: float) -> float:
    """The p99 of the other clients; one that is not answered makes the run worthless."""
    target = load.Target(addresses=(address,))
    outcome = await load.open_loop(lab_, load.Open(target=target, rate=_RATE, seconds=seconds, warmup_seconds=0.3))
    if outcome.failed:
        raise RuntimeError(f"{address}: {outcome.why()}")
    return outcome.latency_ms.p99


async def _beside(lab_: lab.Lab, address: str, kind: str, seconds: float) -> float:
    spec = _KINDS[kind]
    target = msgspec.structs.replace(spec.target, addresses=(address,))
    # Long enough to be there all the time; it is ended when the others are done.
    abuser = load.start(lab_, msgspec.structs.replace(spec, target=target, seconds=seconds + 60.0))
    try:
        await abuser.line()
        return await _p99_ms(lab_, address, seconds)
    finally:
        abuser.process.stop()


def _ratio(figures: rounds.Figures, kind: str) -> float:
    return figures[f"p99_ms_{kind}"] / figures["p99_ms_alone"]
