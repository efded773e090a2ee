"""Runs Jobs, and deletes finished ones after `ttlSecondsAfterFinished`."""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.controllers import context, owned, writes
from fairlead.controllers.job import decide
from fairlead.controllers.writes import Object

NAME = "job-controller"
TTL_NAME = "ttl-after-finished-controller"


class Jobs:
    """Both controllers."""

    def __init__(self, given: context.Context) -> None:
        self._owned = owned.OwnedPods(given, NAME, kinds.JOB, self._decide)
        self.runner = self._owned.runner
        self.ttl = given.runner(TTL_NAME, self._expire, self._owned.owners)
        self._owned.owners.add_handler(lambda change: self.ttl.add(change.key))

    def _decide(self, owner: Object) -> writes.Decision:
        return decide.decide(decide.Snapshot(owner, self._owned.pods_of(owner), self._owned.clock.now()))

    def _expire(self, key: str) -> writes.Decision:
        job = self._owned.owners.cache.get(key)
        return expire(job, self._owned.clock.now()) if job is not None else writes.NOTHING


def expire(job: Object, now: float) -> writes.Decision:
    """Deletes a Job that has been finished for its TTL, or says when it will be. Pure."""
    seconds, ended = job["spec"].get("ttlSecondsAfterFinished"), decide.finished(job)
    if seconds is None or ended is None or "deletionTimestamp" in job["metadata"]:
        return writes.NOTHING
    left = clocks.parse_rfc3339(ended["lastTransitionTime"]) + float(seconds) - now
    if left > 0:
        return writes.Decision(again_seconds=left)
    metadata = job["metadata"]
    gone = writes.Delete(
        kinds.JOB, metadata["namespace"], metadata["name"], uid=metadata["uid"], propagation="Foreground"
    )
    return writes.Decision((gone,))
