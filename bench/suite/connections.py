"""`connections`: a new client connection for each request, one core: how many a second, and CPU per connection; then
with TLS (full handshakes, P-256), CPU per connection at 500 a second. The main figure is connections per CPU second,
which is what a core does when it has nothing else to do; connections per second are what this machine had left for
it."""

from __future__ import annotations

from bench import candidates, h2load, lab, load, proxying, report, rounds

SUMMARY = "new connections a second, one core, against the peers"
_MAIN = "connections_per_cpu_second"
_TLS = "tls_cpu_us_per_connection"


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    backend = await load.backend(lab_, load.BackendSpec(servers=4))
    started = await proxying.start_all(lab_, candidates.Job(backends=backend.addresses))
    seconds = lab_.seconds(4.0, 2.0)

    def spec(address: str) -> load.Closed:
        target = load.Target(addresses=(address,), new_connections=True, sources=64)
        return load.Closed(target=target, connections=64, seconds=seconds)

    figures = await proxying.measure(lab_, started, lab_.rounds(7, 3), spec)
    by_name = {name: renamed(one) for name, one in figures.items()}
    for running in started.running.values():
        running.stop()
    missing = started.missing
    for name, one in (await _with_tls(lab_, backend, missing)).items():
        by_name.setdefault(name, {})[_TLS] = one["cpu_us_per_request"]
    ours = by_name.pop("fairlead", {})
    goals = [
        proxying.at_least_best(_MAIN, ours, by_name, "new connections a second of a core, of the best peer's"),
        proxying.at_most_best(_TLS, ours, by_name, 1.0),
    ]
    return report.Report(bench="connections", main=_MAIN, ours=ours, peers=by_name, missing=missing, goals=goals)


async def _with_tls(lab_: lab.Lab, backend: load.Backend, missing: dict[str, str]) -> dict[str, rounds.Figures]:
    job = candidates.Job(backends=backend.addresses, certificate=h2load.certificate(lab_))
    started = await proxying.start_all(lab_, job)
    seconds = lab_.seconds(4.0, 1.5)

    async def one(running: candidates.Running) -> rounds.Figures:
        spec = h2load.Spec(address=running.address, seconds=seconds, http1=True, new_per_second=500)
        return await h2load.figures(lab_, running, spec)

    found = await rounds.in_turn(lab_, started.running, lab_.rounds(5, 3), one, missing=started.missing)
    missing.update({f"{name}, TLS": why for name, why in started.missing.items()})
    return found


def renamed(one: rounds.Figures) -> rounds.Figures:
    """The figures of a run in which each request had its connection."""
    names = {"requests_per_second": "connections_per_second", "cpu_us_per_request": "cpu_us_per_connection"}
    return {_MAIN: 1e6 / one["cpu_us_per_request"], **{names.get(name, name): value for name, value in one.items()}}
