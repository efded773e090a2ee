"""`l7`: keep-alive HTTP/1.1 through each load balancer on one core, 64 connections, small answers, the same backends.

The main figure is CPU per request, of all processes of the candidate. `--routes N` gives every candidate N host names.
"""

from __future__ import annotations

import argparse

from bench import candidates, lab, load, proxying, report, rounds

SUMMARY = "HTTP/1.1 keep-alive: CPU per request against HAProxy, nginx and Envoy, one core each"
_CONNECTIONS = 64
_MAIN = "cpu_us_per_request"
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
    seconds = lab_.seconds(4.0, 2.0)

    def spec(address: str) -> load.Closed:
        return load.Closed(target=load.Target(addresses=(address,)), connections=_CONNECTIONS, seconds=seconds)

    figures = await proxying.measure(lab_, started, lab_.rounds(7, 5), spec)
    return _report(figures, started.missing)


def _report(figures: dict[str, rounds.Figures], missing: dict[str, str]) -> report.Report:
    ours = figures.pop("fairlead", {})
    return report.Report(
        bench="l7",
        main=_MAIN,
        ours=ours,
        peers=figures,
        missing=missing,
        goals=[
            *(proxying.at_most(_MAIN, ours, figures, peer, limit) for peer, limit in _LIMITS.items()),
            proxying.at_most_best("p99_ms", ours, figures, 1.0),
        ],
    )
