"""Runs Deployments: which changes concern which Deployment, and the snapshot that `decide` gets."""

from __future__ import annotations

from fairlead.api import kinds, selectors
from fairlead.client import cache, informer
from fairlead.controllers import context, runner, writes
from fairlead.controllers.deployment import decide, spec
from fairlead.controllers.writes import Object

NAME = "deployment-controller"


class Deployments:
    """The controller; `runner` is its queue."""

    def __init__(self, given: context.Context) -> None:
        self._clock = given.clock
        self._deployments = given.informers.of(kinds.DEPLOYMENT)
        self._sets = given.informers.of(kinds.REPLICA_SET)
        self._pods = given.informers.of(kinds.POD)
        self._pods.cache.add_index("controller", cache.by_controller)
        self.runner = given.runner(NAME, self._decide, self._deployments, self._sets, self._pods)
        self._deployments.add_handler(lambda change: self.runner.add(change.key))
        self._sets.add_handler(self._set_changed)
        self._pods.add_handler(self._pod_changed)

    def _set_changed(self, change: informer.Change) -> None:
        self.runner.add_all(runner.owners(change, "Deployment"))
        if not runner.orphan(change):
            return
        found = change.object
        labels = found["metadata"].get("labels")
        for deployment in self._deployments.cache.list(found["metadata"]["namespace"]):
            if selectors.from_object(deployment["spec"].get("selector")).matches(labels):
                self.runner.add(cache.key_of(deployment))

    def _pod_changed(self, change: informer.Change) -> None:
        """Only Recreate waits for pods: the last old one that ends lets the new ones start."""
        if change.new is not None and change.new.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            return
        owner = runner.key_of_owner(change.object, "ReplicaSet")
        found = self._sets.cache.get(owner) if owner else None
        key = runner.key_of_owner(found, "Deployment") if found else None
        deployment = self._deployments.cache.get(key) if key else None
        if deployment is not None and not spec.rolling(deployment):
            self.runner.add(cache.key_of(deployment))

    def _decide(self, key: str) -> writes.Decision:
        deployment = self._deployments.cache.get(key)
        if deployment is None:
            return writes.NOTHING
        sets = self._sets.cache.list(deployment["metadata"]["namespace"])
        pods: list[Object] = []
        if not spec.rolling(deployment):
            for found in sets:
                if runner.key_of_owner(found, "Deployment") == key:
                    pods += self._pods.cache.indexed("controller", found["metadata"]["uid"])
        return decide.decide(decide.Snapshot(deployment, sets, pods, self._clock.now()))
