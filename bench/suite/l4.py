"""`l4`: TCP through each load balancer on one core: CPU per byte (1 MiB answers), per new connection, and per small
message on kept connections. The clients and backends speak HTTP, which a TCP proxy does not see."""

from __future__ import annotations

from typing import Any

from bench import candidates, lab, load, proxying, report, rounds

SUMMARY = "TCP: CPU per byte, per connection and per message against the peers"
_BYTES = 1 << 20


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn, of three kinds of load each."""
    # Many ports: each connection to a client is one to a backend, and closed ones keep their port for a while.
    backend = await load.backend(lab_, load.BackendSpec(servers=16))
    job = candidates.Job(backends=backend.addresses, mode="tcp")
    started = await proxying.start_all(lab_, job)
    seconds, count = lab_.seconds(3.0, 1.0), lab_.rounds(7, 3)
    kinds: dict[str, tuple[dict[str, Any], int]] = {
        "cpu_ns_per_kib": ({"paths": (f"/bytes?n={_BYTES}",)}, 16),
        "cpu_us_per_connection": ({"new_connections": True, "sources": 64}, 64),
        "cpu_us_per_message": ({}, 64),
    }
    found: dict[str, rounds.Figures] = {}
    for figure, (fields, connections) in kinds.items():
        lab_.progress(figure)

        def spec(address: str, fields: dict[str, Any] = fields, connections: int = connections) -> load.Closed:
            target = load.Target(addresses=(address,), **fields)
            return load.Closed(target=target, connections=connections, seconds=seconds)

        for name, one in (await proxying.measure(lab_, started, count, spec)).items():
            per = one["cpu_us_per_request"] * (1000 / (_BYTES / 1024) if figure == "cpu_ns_per_kib" else 1)
            found.setdefault(name, {}).update({figure: per, f"p99_ms_{figure.rpartition('_')[2]}": one["p99_ms"]})
    ours = found.pop("fairlead", {})
    goals = [proxying.at_most(figure, ours, found, "haproxy", 1.0) for figure in kinds]
    return report.Report(
        bench="l4", main="cpu_us_per_connection", ours=ours, peers=found, missing=started.missing, goals=goals
    )
