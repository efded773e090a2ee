"""`connections`: a new client connection for each request, one core; how many a second, and CPU per connection."""

from __future__ import annotations

from bench import candidates, lab, load, proxying, report, rounds

SUMMARY = "new connections a second, one core, against the peers"
_MAIN = "connections_per_second"


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    backend = await load.backend(lab_, load.BackendSpec(servers=4))
    started = await proxying.start_all(lab_, candidates.Job(backends=backend.addresses))
    seconds = lab_.seconds(4.0, 2.0)

    def spec(address: str) -> load.Closed:
        target = load.Target(addresses=(address,), new_connections=True, sources=64)
        return load.Closed(target=target, connections=64, seconds=seconds)

    figures = await proxying.measure(lab_, started, lab_.rounds(7, 5), spec)
    by_name = {name: renamed(one) for name, one in figures.items()}
    ours = by_name.pop("fairlead", {})
    goal = proxying.at_least_best(_MAIN, ours, by_name, "new connections a second of the best peer's")
    return report.Report(
        bench="connections", main=_MAIN, ours=ours, peers=by_name, missing=started.missing, goals=[goal]
    )


def renamed(one: rounds.Figures) -> rounds.Figures:
    """The figures of a run in which each request had its connection."""
    names = {"requests_per_second": _MAIN, "cpu_us_per_request": "cpu_us_per_connection"}
    return {_MAIN: 0.0, **{names.get(name, name): value for name, value in one.items()}}
