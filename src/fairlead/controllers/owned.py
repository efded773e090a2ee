"""The thin part that all controllers of pods share: which pod concerns which owner, and the pods in a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fairlead.api import kinds, selectors
from fairlead.api.kinds import Kind
from fairlead.client import cache, informer
from fairlead.controllers import context, pods, runner, writes
from fairlead.controllers.writes import Object

TOGETHER_SECONDS = 0.1
Decide = Callable[[Object], writes.Decision]


class OwnedPods:
    """Follows owners of one kind and their pods, and adds the owner's key to a runner when one of them changes."""

    def __init__(
        self,
        given: context.Context,
        name: str,
        kind: Kind,
        decide: Decide,
        *also: informer.Informer,
        all_at_once: bool = False,
    ) -> None:
        """`all_at_once`: after its own write of an owner `decide` wants nothing more of it."""
        self.kind = kind
        self.clock = given.clock
        self.owners = given.informers.of(kind)
        self.pods = given.informers.of(kinds.POD)
        self.pods.cache.add_index("controller", cache.by_controller)
        self.pods.cache.add_index("orphan", context.by_orphan_namespace)
        self._decide = decide
        self._gate = given.gate
        self._leisure = given.leisure
        if self._gate is not None:
            self._services = given.informers.of(kinds.SERVICE)
            self.pods.cache.add_index("address", _by_address)
            self._gate.on_served.append(self._served)
        self.runner = given.runner(name, self._decide_key, self.owners, self.pods, *also)
        self._all_at_once = all_at_once
        self.owners.add_handler(self._owner_changed)
        self.pods.add_handler(self._pod_changed)

    def follow(self, other: informer.Informer) -> None:
        """Objects of another kind that the owners control concern them, too."""
        other.cache.add_index("controller", cache.by_controller)
        other.add_handler(lambda change: self.runner.add_all(runner.owners(change, self.kind.kind)))

    def pods_of(self, owner: Object) -> list[Object]:
        """The owner's pods, and those of its namespace that nobody controls."""
        metadata = owner["metadata"]
        owned = [self._seen(pod) for pod in self.pods.cache.indexed("controller", metadata["uid"])]
        return [*owned, *self.pods.cache.indexed("orphan", metadata["namespace"])]

    def _seen(self, pod: Object) -> Object:
        """The pod as a decision sees it: one that the planes do not serve yet is marked with how long that may hold."""
        if self._gate is None:
            return pod
        services = self._services.cache.list(pod["metadata"]["namespace"])
        seconds = self._gate.held_seconds(pod, services, self.clock.now())
        return {**pod, pods.HELD_SECONDS: seconds} if seconds else pod

    def _served(self, addresses: frozenset[str]) -> None:
        for address in addresses:
            for pod in self.pods.cache.indexed("address", address):
                if (key := runner.key_of_owner(pod, self.kind.kind)) is not None:
                    self._concern(key)

    def _owner_changed(self, change: informer.Change) -> None:
        known = self._all_at_once and change.new is not None
        if not (known and self.runner.wrote(change.key, self.kind, change.object)):
            self.runner.add(change.key)

    def _pod_changed(self, change: informer.Change) -> None:
        for key in runner.owners(change, self.kind.kind):
            self._concern(key)
        if not runner.orphan(change):
            return
        labels = change.object["metadata"].get("labels")
        for owner in self.owners.cache.list(change.object["metadata"]["namespace"]):
            if selectors.from_object(owner["spec"].get("selector")).matches(labels):
                self.runner.add(cache.key_of(owner))

    def _concern(self, key: str) -> None:
        """A pod of that owner's changed: it is decided at once, but of many changes that come together a few times."""
        if self._leisure is not None and self._leisure.crowded:
            self.runner.queue.add_after(key, TOGETHER_SECONDS)
        else:
            self.runner.add(key)

    def _decide_key(self, key: str) -> writes.Decision:
        owner = self.owners.cache.get(key)
        if owner is None:
            self.runner.refused.pop(key, None)
            return writes.NOTHING
        return self._decide(owner)


def _by_address(pod: Object) -> Iterable[str]:
    address = (pod.get("status") or {}).get("podIP")
    return (str(address),) if address else ()
