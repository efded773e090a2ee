"""Runs the garbage collector: a graph of owners and dependents from the informers of every kind that it is told of.

Before anything is deleted because an owner is absent, the owner is asked for on the server: the watch of one kind may
be ahead of another's. Owners of kinds that this controller does not know count as present: nothing is deleted by
mistake.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

from fairlead.api.kinds import Kind
from fairlead.client import errors, informer
from fairlead.controllers import context, writes
from fairlead.controllers.garbage import decide
from fairlead.controllers.writes import Object

NAME = "generic-garbage-collector"
NOT_COLLECTED = {"events", "leases", "nodes", "namespaces"}  # plurals: short-lived, or owned by nobody
_BY_OWNER = "garbage/owner"
_BY_UID = "garbage/uid"
_REMEMBERED = 1024


class Garbage:
    """The controller; keys are uids."""

    def __init__(self, given: context.Context, *, collected: Sequence[Kind]) -> None:
        self._client = given.client_for(NAME)
        self._shared = given.informers
        self._informers: dict[Kind, informer.Informer] = {}
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._absent: collections.OrderedDict[str, None] = collections.OrderedDict()
        self.runner = given.runner(NAME, self._decide, *(given.informers.of(kind) for kind in collected))
        for kind in collected:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        """Collects one more kind (a custom one)."""
        one = self._shared.of(kind)
        self._informers[kind] = one
        self._kinds[kind.api_version, kind.kind] = kind
        one.cache.add_index(_BY_OWNER, _owners)
        one.cache.add_index(_BY_UID, _uid)
        one.add_handler(self._changed)
        self.runner.follow(one)

    def remove(self, kind: Kind) -> None:
        """That kind is no longer served; its objects are gone."""
        self._informers.pop(kind, None)
        self._kinds.pop((kind.api_version, kind.kind), None)
        self.runner.leave(kind)

    def _changed(self, change: informer.Change) -> None:
        metadata = change.object["metadata"]
        if change.new is None:
            self._remember_absent(metadata["uid"])
            self.runner.add_all(dependent["metadata"]["uid"] for _, dependent in self._dependents(metadata["uid"]))
            self.runner.add_all(_owners(change.object))  # one that waits may go now
            return
        before, now = set(_owners(change.old or {"metadata": {}})), set(_owners(change.new))
        if "deletionTimestamp" in metadata:
            if metadata.get("finalizers"):
                self.runner.add(metadata["uid"])
                self.runner.add_all(dependent["metadata"]["uid"] for _, dependent in self._dependents(metadata["uid"]))
        elif now != before and not self._is_kept(metadata):
            self.runner.add(metadata["uid"])
        self.runner.add_all(before - now)

    def _is_kept(self, metadata: Object) -> bool:
        """Every owner is known and stays, which is nearly always so: there is nothing to decide."""
        return all(self._known_state(reference) == "present" for reference in metadata.get("ownerReferences") or ())

    async def _decide(self, uid: str) -> writes.Decision:
        found = self._find(uid)
        if found is None:
            return writes.NOTHING
        kind, obj = found
        owners = {}
        for reference in obj["metadata"].get("ownerReferences") or ():
            owners[reference["uid"]] = await self._state(reference, obj)
        return decide.decide(decide.Snapshot(kind, obj, owners, self._dependents(uid)))

    def _find(self, uid: str) -> tuple[Kind, Object] | None:
        for kind, one in self._informers.items():
            for obj in one.cache.indexed(_BY_UID, uid):
                return kind, obj
        return None

    def _dependents(self, uid: str) -> list[tuple[Kind, Object]]:
        return [(kind, obj) for kind, one in self._informers.items() for obj in one.cache.indexed(_BY_OWNER, uid)]

    def _known_state(self, reference: Object) -> decide.OwnerState | None:
        """As far as it is known here: None when the server must be asked."""
        kind = self._kinds.get((reference["apiVersion"], reference["kind"]))
        if kind is None:
            return "present"
        for known in self._informers[kind].cache.indexed(_BY_UID, reference["uid"]):
            return "waiting" if decide.waiting(known) else "present"
        return "absent" if reference["uid"] in self._absent else None

    async def _state(self, reference: Object, dependent: Object) -> decide.OwnerState:
        if (known := self._known_state(reference)) is not None:
            return known
        kind = self._kinds[reference["apiVersion"], reference["kind"]]
        namespace = dependent["metadata"].get("namespace", "") if kind.namespaced else ""
        try:
            owner = await self._client.get(kind, reference["name"], namespace=namespace)
        except errors.ApiError as error:
            if not error.not_found:
                raise
            owner = None
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            self._remember_absent(reference["uid"])
            return "absent"
        return "waiting" if decide.waiting(owner) else "present"

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > _REMEMBERED:
            self._absent.popitem(last=False)


def collected_of(known: Iterable[Kind]) -> list[Kind]:
    """The kinds to collect among those known; of a resource in several versions, the first."""
    found: dict[tuple[str, str], Kind] = {}
    for kind in known:
        if kind.plural not in NOT_COLLECTED:
            found.setdefault((kind.group, kind.plural), kind)
    return list(found.values())


def _owners(obj: Object) -> Iterable[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def _uid(obj: Object) -> Iterable[str]:
    return (obj["metadata"]["uid"],)
