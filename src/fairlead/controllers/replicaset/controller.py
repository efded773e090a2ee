"""Runs ReplicaSets."""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.client import cache
from fairlead.controllers import context, owned, writes
from fairlead.controllers.replicaset import decide
from fairlead.controllers.writes import Object

NAME = "replicaset-controller"


class ReplicaSets:
    """The controller; `runner` is its queue."""

    def __init__(self, given: context.Context) -> None:
        self._owned = owned.OwnedPods(given, NAME, kinds.REPLICA_SET, self._decide, all_at_once=True)
        self.runner = self._owned.runner

    def _decide(self, owner: Object) -> writes.Decision:
        return decide.decide(
            decide.Snapshot(
                replica_set=owner,
                pods=self._owned.pods_of(owner),
                now=self._owned.clock.now(),
                refused=self.runner.refused.get(cache.key_of(owner), ""),
            )
        )
