"""Runs DaemonSets."""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.client import cache, informer
from fairlead.controllers import context, owned, writes
from fairlead.controllers.daemonset import decide
from fairlead.controllers.writes import Object

NAME = "daemon-set-controller"


class DaemonSets:
    """The controller; `runner` is its queue."""

    def __init__(self, given: context.Context) -> None:
        self._revisions = given.informers.of(kinds.CONTROLLER_REVISION)
        self._nodes = given.informers.of(kinds.NODE)
        self._owned = owned.OwnedPods(given, NAME, kinds.DAEMON_SET, self._decide, self._revisions, self._nodes)
        self._owned.follow(self._revisions)
        self._nodes.add_handler(self._node_changed)
        self.runner = self._owned.runner

    def _node_changed(self, change: informer.Change) -> None:
        if change.old is not None and change.new is not None and _said_by(change.old) == _said_by(change.new):
            return  # a heartbeat
        self.runner.add_all(cache.key_of(owner) for owner in self._owned.owners.cache.list())

    def _decide(self, owner: Object) -> writes.Decision:
        return decide.decide(
            decide.Snapshot(
                daemon_set=owner,
                pods=self._owned.pods_of(owner),
                revisions=self._revisions.cache.indexed("controller", owner["metadata"]["uid"]),
                nodes=self._nodes.cache.list(),
                now=self._owned.clock.now(),
            )
        )


def _said_by(node: Object) -> tuple[object, ...]:
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")
