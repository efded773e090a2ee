"""What each algorithm chooses, in a line for people. The definitions are in engine/src/balance and docs/services.md."""

from __future__ import annotations

_COUNTED = "fewest (in flight + 1) / weight"
_RENDEZVOUS = "by a hash of the key (rendezvous)"
_SUMMARY = {
    "round-robin": "in turn",
    "weighted-round-robin": "in turn, smoothly by weight",
    "random": "drawn by weight",
    "least-request": f"an idle one, in turn by weight, else {_COUNTED}; those in flight at a slow or silent endpoint "
    "count for more; in turn among equals",
    "power-of-two": f"two drawn, {_COUNTED}",
    "ewma": "lowest (peak latency) x (in flight + 1) / weight",
    "prequal": "of probes kept in a pool, the quickest that is no busier than usual, else the least busy",
    "ip-hash": "by a hash of the client's address (rendezvous)",
    "hash": _RENDEZVOUS,
    "maglev": "by a hash of the key (Maglev's table)",
    "ring-hash": "by a hash of the key (ring)",
    "wrr": "in turn by weight, as IPVS interleaves it",
    "lc": "fewest in flight",
    "wlc": "fewest in flight / weight",
    "sed": _COUNTED,
    "nq": f"an idle one, else {_COUNTED}",
    "fo": "the heaviest",
    "ovf": "the heaviest that has no more in flight than its weight",
    "lblc": "the key's endpoint until that is overloaded",
    "lblcr": "the least busy of the key's endpoints, one more when that is overloaded",
    "twos": "two drawn by weight, fewest in flight / weight",
}
_SAME = {"rr": "round-robin", "sh": "ip-hash", "dh": "hash", "mh": "maglev"}


def summary(algorithm: str, *, layer4: bool = False) -> str:
    """Who is next. At layer 4 no answers are known, so nobody is slow."""
    word = _SAME.get(algorithm, algorithm)
    return _SUMMARY["sed" if layer4 and word == "least-request" else word]
