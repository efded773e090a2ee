"""Custom kinds as they come and go: whoever works on every kind is told of each CustomResourceDefinition's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.client import informer
from fairlead.controllers import conditions, context
from fairlead.controllers.writes import Object


class Follower(Protocol):
    """Works on every kind."""

    def add(self, kind: Kind) -> None: ...
    def remove(self, kind: Kind) -> None: ...


class CustomKinds:
    """Tells the followers. A definition counts once it is Established; its storage version is the one followed."""

    def __init__(self, given: context.Context, *, followers: Sequence[Follower]) -> None:
        self._shared = given.informers
        self._followers = followers
        self._known: dict[str, Kind] = {}
        given.informers.of(kinds.CUSTOM_RESOURCE_DEFINITION).add_handler(self._changed)

    def _changed(self, change: informer.Change) -> None:
        found = kind_of(change.new) if change.new is not None else None
        known = self._known.get(change.key)
        if known == found:
            return
        if known is not None:
            del self._known[change.key]
            for follower in self._followers:
                follower.remove(known)
            self._shared.drop(known)
        if found is not None:
            self._known[change.key] = found
            for follower in self._followers:
                follower.add(found)


def kind_of(definition: Object) -> Kind | None:
    """The Kind that an established definition serves; None before and after that."""
    established = conditions.find(definition, "Established")
    leaving = "deletionTimestamp" in definition["metadata"]
    if established is None or established["status"] != "True" or leaving:
        return None
    spec = definition["spec"]
    stored = [one for one in spec["versions"] if one.get("storage") and one.get("served")]
    served = stored or [one for one in spec["versions"] if one.get("served")]
    if not served:
        return None
    return Kind(
        group=spec["group"],
        version=served[0]["name"],
        kind=spec["names"]["kind"],
        plural=spec["names"]["plural"],
        namespaced=spec["scope"] == "Namespaced",
        subresources=tuple(name for name in ("status", "scale") if name in (served[0].get("subresources") or {})),
    )
