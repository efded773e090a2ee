"""`fair`: 1,500 requests to five equal endpoints, with every algorithm: what share the least and the most loaded
endpoint get.

No endpoint under 10 % or over 30 %. The hashing algorithms get a key for each request and have bounds of their own: a
hash spreads keys, not requests, so the shares are those of 1,500 draws over its ring or table.
"""

from __future__ import annotations

from bench import candidates, lab, load, proxying, report, rounds

SUMMARY = "1,500 requests to five equal endpoints, every algorithm: the smallest and largest share"
_REQUESTS, _SERVERS = 1500, 5
EVEN = ("round-robin", "weighted-round-robin", "random", "least-request", "power-of-two", "ewma", "prequal")
HASHING = {"ip-hash": "", "hash": "path", "maglev": "path", "ring-hash": "path"}
_BOUNDS, _HASH_BOUNDS = (10.0, 30.0), (5.0, 45.0)


async def run(lab_: lab.Lab) -> report.Report:
    """Each algorithm once: there is nothing to take a median of."""
    backend = await load.backend(lab_, load.BackendSpec(servers=_SERVERS))
    found: dict[str, rounds.Figures] = {}
    missing: dict[str, str] = {}
    for candidate in proxying.wanted(lab_):
        words = (*EVEN, *HASHING) if candidate.name == "fairlead" else ("round-robin", "least", "two")
        for algorithm in words:
            job = candidates.Job(backends=backend.addresses, algorithm=algorithm, hash_on=HASHING.get(algorithm, ""))
            await _one(lab_, candidate, job, f"{candidate.name} {algorithm}", found, missing)
    return _report(found, missing)


async def _one(
    lab_: lab.Lab,
    candidate: candidates.Candidate,
    job: candidates.Job,
    name: str,
    found: dict[str, rounds.Figures],
    missing: dict[str, str],
) -> None:
    try:
        running = await candidate.start(lab_, job)
    except (candidates.Missing, candidates.Unable, RuntimeError) as error:
        missing[name] = proxying.reason(error)
        return
    try:
        seen = await load.open_loop(lab_, _spec(running.address))
    finally:
        running.stop()
    found[name] = shares(seen)
    lab_.progress(f"{name}: {rounds.describe(found[name])}")


def _spec(address: str) -> load.Open:
    """About five requests in flight: each takes 5 ms, 1,000 a second are due."""
    paths = tuple(f"/key-{index}?ms=5" for index in range(_REQUESTS))
    target = load.Target(addresses=(address,), paths=paths, sources=250)
    return load.Open(target=target, rate=1000, seconds=_REQUESTS / 1000, connections=250, poisson=False)


def shares(seen: load.Outcome) -> rounds.Figures:
    """Per cent of all requests that were due, so that a failed one is in nobody's share."""
    counts = [pod.answers / seen.due * 100 for pod in seen.pods.values()]
    counts += [0.0] * (_SERVERS - len(counts))
    return {"min_share_percent": min(counts), "max_share_percent": max(counts), "failed": float(seen.failed)}


def _report(found: dict[str, rounds.Figures], missing: dict[str, str]) -> report.Report:
    goals = []
    for algorithm in (*EVEN, *HASHING):
        low, high = _HASH_BOUNDS if algorithm in HASHING else _BOUNDS
        one = found.get(f"fairlead {algorithm}", {})
        goals.append(report.Goal(f"{algorithm}: smallest share", one.get("min_share_percent"), low, at_least=True))
        goals.append(report.Goal(f"{algorithm}: largest share", one.get("max_share_percent"), high))
    ours = {name: figures for name, figures in found.items() if name.startswith("fairlead ")}
    return report.Report(
        bench="fair",
        main="max_share_percent",
        ours=found.get("fairlead least-request", {}),
        peers={name: figures for name, figures in found.items() if name not in ours},
        more=ours,
        missing=missing,
        goals=goals,
    )
