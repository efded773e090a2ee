"""`l7`: keep-alive HTTP/1.1 through each load balancer on one core, 64 connections, small answers, the same backends.

The main figure is CPU per request, of all processes of the candidate. `--routes N` gives every candidate N host names,
and runs ours with a single route beside it, which it may cost 5 % more than.
"""

from __future__ import annotations

import argparse

from bench import candidates, engine, lab, load, proxying, report, rounds

SUMMARY = "HTTP/1.1 keep-alive: CPU per request against HAProxy, nginx and Envoy, one core each"
_CONNECTIONS = 64
_MAIN = "cpu_us_per_request"
_ONE_ROUTE = "fairlead, one route"
_LIMITS = {"haproxy": 0.9, "nginx": 0.9, "envoy": 0.4}


def add_options(parser: argparse.ArgumentParser) -> None:
    """--routes N, --bytes N."""
    parser.add_argument("--routes", type=int, default=1, help="host names in the table")
    parser.add_argument("--bytes", type=int, default=128, help="size of an answer's body")


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    options = lab_.options
    backend = await load.backend(lab_, load.BackendSpec(servers=4, answer_bytes=options.bytes))
    started = await proxying.start_all(lab_, candidates.Job(backends=backend.addresses, routes=options.routes))
    if options.routes > 1:
        alone = engine.Engine(part=options.engine_part)
        await proxying.start_one(lab_, started, _ONE_ROUTE, alone, candidates.Job(backends=backend.addresses))
    seconds = lab_.seconds(4.0, 2.0)

    def spec(address: str) -> load.Closed:
        return load.Closed(target=load.Target(addresses=(address,)), connections=_CONNECTIONS, seconds=seconds)

    figures = await proxying.measure(lab_, started, lab_.rounds(7, 5), spec)
    return _report(figures, started.missing)


def _report(figures: dict[str, rounds.Figures], missing: dict[str, str]) -> report.Report:
    ours = figures.pop("fairlead", {})
    peers = {name: one for name, one in figures.items() if name != _ONE_ROUTE}
    beside = [proxying.at_most(_MAIN, ours, figures, _ONE_ROUTE, 1.05)] if _ONE_ROUTE in figures else []
    return report.Report(
        bench="l7",
        main=_MAIN,
        ours=ours,
        peers=figures,
        missing=missing,
        goals=[
            *(proxying.at_most(_MAIN, ours, figures, peer, limit) for peer, limit in _LIMITS.items()),
            proxying.at_most_best("p99_ms", ours, peers, 1.0),
            *beside,
        ],
    )
