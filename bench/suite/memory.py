"""`memory`: PSS with 10,000 idle client connections (each has made one request), and with 1,000 Backends of 10
endpoints."""

from __future__ import annotations

import argparse

from bench import candidates, lab, load, memory, proxying, report, rounds

SUMMARY = "memory of 10,000 idle connections, and of 1,000 backends of 10 endpoints, against the peers"
_MAIN = "memory_mb_10000_idle"


def add_options(parser: argparse.ArgumentParser) -> None:
    """--connections N."""
    parser.add_argument("--connections", type=int, help="how many idle connections (quick: 3,000)")


async def run(lab_: lab.Lab) -> report.Report:
    """Each candidate alone, once for each figure and round."""
    held = 3000 if lab_.options.connections is None and lab_.quick else lab_.options.connections or 10_000
    backend = await load.backend(lab_, load.BackendSpec(servers=10))
    job = candidates.Job(backends=backend.addresses)
    many = candidates.Job(backends=backend.addresses, services=1000)
    started = await proxying.start_all(lab_, job)
    found: dict[str, rounds.Figures] = {}
    for name, running in started.running.items():
        base = memory.family_pss_mb(running.pids())
        seconds = held / 4000 + 4
        target = load.Target(addresses=(running.address,))
        generator = load.start(lab_, load.Hold(target=target, connections=held, seconds=seconds))
        await generator.line()
        full = memory.family_pss_mb(running.pids())
        seen = await generator.held()
        found[name] = {
            "memory_mb_10000_idle": base + (full - base) * 10_000 / held,
            "memory_mb_start": base,
            "kb_per_connection": (full - base) * 1000 / max(seen.opened, 1),
            "not_held": float(held - seen.opened + seen.closed),
        }
        running.stop()
        lab_.progress(f"{name}: {rounds.describe(found[name])}")
    for candidate in proxying.wanted(lab_):
        if candidate.name not in found:
            continue
        alone = proxying.Field()
        await proxying.start_one(lab_, alone, candidate.name, candidate, many)
        for name, running in alone.running.items():
            found[name]["memory_mb_1000_backends"] = memory.family_pss_mb(running.pids())
            running.stop()
        started.missing.update({f"{name}, 1,000 backends": why for name, why in alone.missing.items()})
    ours = found.pop("fairlead", {})
    goals = [proxying.at_most(figure, ours, found, "haproxy", 1.0) for figure in (_MAIN, "memory_mb_1000_backends")]
    notes = [f"held {held} connections each; figures are scaled to 10,000"] if held != 10_000 else []
    return report.Report(
        bench="memory", main=_MAIN, ours=ours, peers=found, missing=started.missing, goals=goals, notes=notes
    )
