"""Runs StatefulSets."""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.controllers import context, owned, writes
from fairlead.controllers.statefulset import decide
from fairlead.controllers.writes import Object

NAME = "statefulset-controller"


class StatefulSets:
    """The controller; `runner` is its queue."""

    def __init__(self, given: context.Context) -> None:
        self._revisions = given.informers.of(kinds.CONTROLLER_REVISION)
        self._claims = given.informers.of(kinds.PERSISTENT_VOLUME_CLAIM)
        self._owned = owned.OwnedPods(given, NAME, kinds.STATEFUL_SET, self._decide, self._revisions, self._claims)
        self._owned.follow(self._revisions)
        self.runner = self._owned.runner

    def _decide(self, owner: Object) -> writes.Decision:
        metadata = owner["metadata"]
        return decide.decide(
            decide.Snapshot(
                stateful_set=owner,
                pods=self._owned.pods_of(owner),
                revisions=self._revisions.cache.indexed("controller", metadata["uid"]),
                claims={claim["metadata"]["name"]: claim for claim in self._claims.cache.list(metadata["namespace"])},
                now=self._owned.clock.now(),
            )
        )
