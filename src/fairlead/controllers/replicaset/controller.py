"""Runs ReplicaSets: which changes concern which ReplicaSet, and the snapshot that `decide` gets."""

from __future__ import annotations

from fairlead.api import kinds, selectors
from fairlead.client import cache, informer
from fairlead.controllers import context, runner, writes
from fairlead.controllers.replicaset import decide
from fairlead.controllers.writes import Object

NAME = "replicaset-controller"


class ReplicaSets:
    """The controller; `runner` is its queue."""

    def __init__(self, given: context.Context) -> None:
        self._clock = given.clock
        self._sets = given.informers.of(kinds.REPLICA_SET)
        self._pods = given.informers.of(kinds.POD)
        self._pods.cache.add_index("controller", cache.by_controller)
        self._pods.cache.add_index("orphan", context.by_orphan_namespace)
        self.runner = given.runner(NAME, self._decide, self._sets, self._pods)
        self._sets.add_handler(lambda change: self.runner.add(change.key))
        self._pods.add_handler(self._pod_changed)

    def _pod_changed(self, change: informer.Change) -> None:
        self.runner.add_all(runner.owners(change, "ReplicaSet"))
        if runner.orphan(change):
            self.runner.add_all(cache.key_of(found) for found in self._matching(change.object))

    def _matching(self, pod: Object) -> list[Object]:
        labels = pod["metadata"].get("labels")
        return [
            found
            for found in self._sets.cache.list(pod["metadata"]["namespace"])
            if selectors.from_object(found["spec"].get("selector")).matches(labels)
        ]

    def _decide(self, key: str) -> writes.Decision:
        replica_set = self._sets.cache.get(key)
        if replica_set is None:
            self.runner.refused.pop(key, None)
            return writes.NOTHING
        metadata = replica_set["metadata"]
        pods = self._pods.cache.indexed("controller", metadata["uid"])
        orphans = self._pods.cache.indexed("orphan", metadata["namespace"])
        return decide.decide(
            decide.Snapshot(
                replica_set=replica_set,
                pods=[*pods, *orphans],
                now=self._clock.now(),
                refused=self.runner.refused.get(key, ""),
            )
        )
