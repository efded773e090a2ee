"""What a balancer could reach that knows everything: each request's cost, each server's queue, slowness and stalls.

Every arrival goes where it is finished first. The servers are those of `loadgen/src/simulate.rs`, the arrivals those of
`loadgen/src/open.rs`, from the same seed. It is greedy, so not a lower bound in theory; no balancer knows as much.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

from bench import load

_MASK = (1 << 64) - 1


class SplitMix64:
    """The generator of `loadgen/src/random.rs`."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def next(self) -> int:
        """64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def exponential(self, mean: float) -> float:
        """Exponential with the given mean."""
        return -math.log(1.0 - (self.next() >> 11) / (1 << 53)) * mean


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Poisson arrivals in seconds from the begin."""
    random = SplitMix64(seed)
    at = random.exponential(1 / rate)
    while at < seconds:
        yield at
        at += random.exponential(1 / rate)


class Server:
    """`workers` requests at a time, the others queue."""

    def __init__(self, workers: int, slowness: float, stall: load.Stall | None) -> None:
        self._free = [0.0] * workers
        self._slowness = slowness
        self._stall = stall

    def finish(self, now: float, cost: float) -> float:
        """When a request that arrives now would be done."""
        return self._start(now) + cost * self._slowness

    def take(self, now: float, cost: float) -> float:
        """The same, and it is taken."""
        done = self.finish(now, cost)
        heapq.heapreplace(self._free, done)
        return done

    def _start(self, now: float) -> float:
        at = max(self._free[0], now)
        if self._stall is None:
            return at
        phase = at % self._stall.every_seconds
        return at + max(0.0, self._stall.for_seconds - phase)


def servers(spec: load.BackendSpec) -> list[Server]:
    """The servers that a backend simulates."""
    stalls = {stall.server: stall for stall in spec.stalls}
    slowness = dict(enumerate(spec.slowness))
    return [Server(spec.workers, slowness.get(at, 1.0), stalls.get(at)) for at in range(spec.servers)]


def latencies(spec: load.BackendSpec, costs: Sequence[float], due: Iterator[float]) -> list[float]:
    """Seconds from arrival to answer, sorted."""
    all_servers, seen = servers(spec), []
    for index, now in enumerate(due):
        cost = costs[index % len(costs)]
        best = min(all_servers, key=lambda server: server.finish(now, cost))
        seen.append(best.take(now, cost) - now)
    return sorted(seen)


def capacity(spec: load.BackendSpec, costs: Sequence[float]) -> float:
    """Requests a second that all servers together can do."""
    stalled = {stall.server: stall.for_seconds / stall.every_seconds for stall in spec.stalls}
    slowness = dict(enumerate(spec.slowness))
    speed = sum((1 - stalled.get(at, 0.0)) / slowness.get(at, 1.0) for at in range(spec.servers))
    return speed * spec.workers / (sum(costs) / len(costs))


def quantile(sorted_values: Sequence[float], q: float) -> float:
    """The value below which the share `q` lies (the same rank as the load tools' histogram)."""
    return sorted_values[max(1, math.ceil(q * len(sorted_values))) - 1]
