"""Runs PodDisruptionBudgets."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.api import kinds, selectors
from fairlead.client import cache, informer
from fairlead.controllers import context, ownership, writes
from fairlead.controllers.deployment import spec as limits
from fairlead.controllers.disruption import decide
from fairlead.controllers.writes import Object

NAME = "disruption-controller"
_SCALED = (kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.STATEFUL_SET)


class Disruptions:
    """The controller; `runner` is its queue."""

    def __init__(self, given: context.Context) -> None:
        self._clock = given.clock
        self._budgets = given.informers.of(kinds.POD_DISRUPTION_BUDGET)
        self._pods = given.informers.of(kinds.POD)
        self._scaled = {kind.kind: given.informers.of(kind) for kind in _SCALED}
        self.runner = given.runner(NAME, self._decide, self._budgets, self._pods, *self._scaled.values())
        self._budgets.add_handler(lambda change: self.runner.add(change.key))
        self._pods.add_handler(self._pod_changed)
        for one in self._scaled.values():
            one.add_handler(self._scale_changed)

    def _pod_changed(self, change: informer.Change) -> None:
        states = [state for state in (change.old, change.new) if state is not None]
        for budget in self._budgets.cache.list(change.object["metadata"]["namespace"]):
            selector = selectors.from_object(budget["spec"].get("selector"))
            if any(selector.matches(state["metadata"].get("labels")) for state in states):
                self.runner.add(cache.key_of(budget))

    def _scale_changed(self, change: informer.Change) -> None:
        both = change.old is not None and change.new is not None
        if both and limits.replicas(change.old or {}) == limits.replicas(change.new or {}):
            return
        for budget in self._budgets.cache.list(change.object["metadata"]["namespace"]):
            self.runner.add(cache.key_of(budget))

    def _decide(self, key: str) -> writes.Decision:
        budget = self._budgets.cache.get(key)
        if budget is None or "deletionTimestamp" in budget["metadata"]:
            return writes.NOTHING
        selector = selectors.from_object(budget["spec"].get("selector"))
        pods = [
            pod
            for pod in self._pods.cache.list(budget["metadata"]["namespace"])
            if selector.matches(pod["metadata"].get("labels"))
        ]
        return decide.decide(decide.Snapshot(budget, pods, self._scale(pods), self._clock.now()))

    def _scale(self, pods: Sequence[Object]) -> int | None:
        """The replicas wanted by all controllers of the pods, each counted once."""
        found: dict[str, int] = {}
        for pod in pods:
            owner = self._top_owner(pod)
            if owner is None:
                return None
            found[owner["metadata"]["uid"]] = limits.replicas(owner)
        return sum(found.values())

    def _top_owner(self, obj: Object) -> Object | None:
        reference = ownership.controller_of(obj)
        known = self._scaled.get(reference["kind"]) if reference else None
        owner = known.cache.get(f"{obj['metadata']['namespace']}/{reference['name']}") if known and reference else None
        if owner is None:
            return None
        return self._top_owner(owner) or owner
