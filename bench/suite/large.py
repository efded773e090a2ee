"""`large`: answers of 1 MiB through each load balancer on one core; bytes per CPU second."""

from __future__ import annotations

from bench import candidates, lab, load, proxying, report, rounds

SUMMARY = "1 MiB answers: bytes per CPU second against the peers"
_BYTES = 1 << 20
_CONNECTIONS = 16
_MAIN = "mb_per_cpu_second"


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    backend = await load.backend(lab_, load.BackendSpec(servers=4))
    started = await proxying.start_all(lab_, candidates.Job(backends=backend.addresses, large=True))
    seconds = lab_.seconds(4.0, 2.0)

    def spec(address: str) -> load.Closed:
        target = load.Target(addresses=(address,), paths=(f"/bytes?n={_BYTES}",))
        return load.Closed(target=target, connections=_CONNECTIONS, seconds=seconds)

    figures = await proxying.measure(lab_, started, lab_.rounds(7, 5), spec)
    by_name = {name: _figures(one) for name, one in figures.items()}
    ours = by_name.pop("fairlead", {})
    goal = proxying.at_least_best(_MAIN, ours, by_name, "bytes per CPU second of the best peer's")
    return report.Report(bench="large", main=_MAIN, ours=ours, peers=by_name, missing=started.missing, goals=[goal])


def _figures(one: rounds.Figures) -> rounds.Figures:
    return {
        _MAIN: _BYTES / one["cpu_us_per_request"],
        "mb_per_second": one["requests_per_second"] * _BYTES / 1e6,
        "p50_ms": one["p50_ms"],
        "p99_ms": one["p99_ms"],
    }
