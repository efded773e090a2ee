"""Which pods the planes serve: a new pod counts as available for a rollout only then (DESIGN 6.2).

Promises: a pod that a Service selects and that became ready is held back until every plane has acked a table with its
address, at the longest for `MOST_SECONDS` after it was ready (a plane that is dead or stuck holds no rollout up);
whoever waits is woken by the ack. A pod that no Service selects is never held. Pure but for its memory of the acks.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence

from fairlead.controllers import pods
from fairlead.controllers.writes import Object
from fairlead.routing import table

MOST_SECONDS = 3.0  # a condition's time has whole seconds, so this is two at least


class Gate:
    """What every plane has acked, by Backend. `on_served` callbacks are given addresses that are served from now on."""

    def __init__(self) -> None:
        self._acked: dict[str, frozenset[str]] = {}
        self._count: collections.Counter[str] = collections.Counter()
        self.on_served: list[Callable[[frozenset[str]], None]] = []

    def acked(self, delta: Iterable[table.BackendEndpoints]) -> None:
        """Every plane works by these endpoints."""
        fresh: set[str] = set()
        for one in delta:
            now = frozenset(endpoint.address for endpoint in one.endpoints if endpoint.state == "ready")
            before = self._acked.get(one.backend, frozenset())
            fresh |= {address for address in now - before if not self._count[address]}
            self._count.update(now - before)
            for address in before - now:
                self._count[address] -= 1
                if not self._count[address]:
                    del self._count[address]
            if now:
                self._acked[one.backend] = now
            else:
                self._acked.pop(one.backend, None)
        if fresh:
            for told in self.on_served:
                told(frozenset(fresh))

    def serves(self, address: str) -> bool:
        """Whether some Backend of every plane has that address."""
        return self._count[address] > 0

    def held_seconds(self, pod: Object, services: Sequence[Object], now: float) -> float:
        """How long that pod may still be held back; 0 for one that counts."""
        if not pods.ready(pod) or self.serves(str((pod.get("status") or {}).get("podIP") or "")):
            return 0.0
        if not _selected(pod, services):
            return 0.0
        since = pods.ready_since(pod)
        return 0.0 if since is None else min(MOST_SECONDS, max(0.0, since + MOST_SECONDS - now))


def _selected(pod: Object, services: Sequence[Object]) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return any(
        selector and all(labels.get(name) == text for name, text in selector.items())
        for selector in (service["spec"].get("selector") for service in services)
    )
