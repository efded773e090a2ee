"""When pods became ready, to the fraction of a second: a condition tells it in whole seconds only, which is too coarse
for means over two.

A pod that was ready before it was first seen has its condition's time.
"""

from __future__ import annotations

from fairlead.base import clock as clocks
from fairlead.client import informer
from fairlead.controllers import conditions, pods
from fairlead.controllers.writes import Object


class ReadyTimes:
    """Follows pods; `of` answers for one of them."""

    def __init__(self, clock: clocks.Clock) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}  # uid -> when it became ready

    def follow(self, change: informer.Change) -> None:
        """A handler of the pods' informer."""
        uid = change.object["metadata"].get("uid", "")
        if change.new is None or not pods.ready(change.new):
            self._seen.pop(uid, None)
        elif change.old is not None and not pods.ready(change.old):
            self._seen[uid] = self._clock.now()

    def of(self, pod: Object) -> float | None:
        """Seconds since 1970; None for a pod that is not ready."""
        condition = conditions.find(pod, "Ready")
        if condition is None or condition["status"] != "True":
            return None
        known = self._seen.get(pod["metadata"].get("uid", ""))
        return known if known is not None else clocks.parse_rfc3339(condition["lastTransitionTime"])
