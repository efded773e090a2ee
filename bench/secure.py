"""What `tls`, `h2` and `grpc` share: candidates that run a job, h2load in turns, CPU per request against the best
peer."""

from __future__ import annotations

from collections.abc import Callable

from bench import candidates, h2load, lab, proxying, report, rounds

_MAIN = "cpu_us_per_request"


async def compare(
    lab_: lab.Lab, bench: str, job: candidates.Job, spec: Callable[[str, float], h2load.Spec]
) -> report.Report:
    """A short warm-up of each candidate, then rounds in turn. A candidate that fails requests becomes missing."""
    started = await proxying.start_all(lab_, job)
    for name, running in list(started.running.items()):
        try:
            await h2load.figures(lab_, running, spec(running.address, 1.0))
        except RuntimeError as error:
            started.missing[name] = proxying.reason(error)
            lab_.progress(f"{name}: {error}")
            del started.running[name]
    seconds = lab_.seconds(4.0, 2.0)

    async def one(running: candidates.Running) -> rounds.Figures:
        return await h2load.figures(lab_, running, spec(running.address, seconds))

    found = await rounds.in_turn(lab_, started.running, lab_.rounds(7, 5), one, missing=started.missing)
    ours = found.pop("fairlead", {})
    goal = proxying.at_most_best(_MAIN, ours, found, 1.0)
    return report.Report(bench=bench, main=_MAIN, ours=ours, peers=found, missing=started.missing, goals=[goal])
