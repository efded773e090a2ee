"""Runs DaemonSets."""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.client import cache, informer
from fairlead.controllers import context, owned, writes
from fairlead.controllers.daemonset import backoff, decide
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
        self._backoffs = backoff.Backoffs()
        self._owned.owners.add_handler(self._owner_changed)

    def _owner_changed(self, change: informer.Change) -> None:
        if change.new is None:
            self._backoffs.forget(change.object["metadata"]["uid"])

    def _node_changed(self, change: informer.Change) -> None:
        if change.old is not None and change.new is not None and _said_by(change.old) == _said_by(change.new):
            return  # a heartbeat
        self.runner.add_all(cache.key_of(owner) for owner in self._owned.owners.cache.list())

    def _decide(self, owner: Object) -> writes.Decision:
        uid, now = owner["metadata"]["uid"], self._owned.clock.now()
        found = self._owned.pods_of(owner)
        failed = decide.failed_nodes(found)
        waits = {node: self._backoffs.left_seconds(uid, node, now) for node in failed}
        decision = decide.decide(
            decide.Snapshot(
                daemon_set=owner,
                pods=found,
                revisions=self._revisions.cache.indexed("controller", uid),
                nodes=self._nodes.cache.list(),
                now=now,
                waits=waits,
            )
        )
        told = any(isinstance(one, writes.Note) and one.reason == "FailedDaemonPod" for one in decision.writes)
        for node in (node for node in failed if told and not waits[node]):
            self._backoffs.count(uid, node, now)
        return decision


def _said_by(node: Object) -> tuple[object, ...]:
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")
