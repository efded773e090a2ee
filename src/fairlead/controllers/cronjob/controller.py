"""Runs CronJobs. Nothing polls: a CronJob is looked at when it or its Jobs change, and when its next time comes."""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.client import cache
from fairlead.controllers import context, runner, writes
from fairlead.controllers.cronjob import decide

NAME = "cronjob-controller"


class CronJobs:
    """The controller; `runner` is its queue."""

    def __init__(self, given: context.Context) -> None:
        self._clock = given.clock
        self._cron_jobs = given.informers.of(kinds.CRON_JOB)
        self._jobs = given.informers.of(kinds.JOB)
        self._jobs.cache.add_index("controller", cache.by_controller)
        self.runner = given.runner(NAME, self._decide, self._cron_jobs, self._jobs)
        self._cron_jobs.add_handler(lambda change: self.runner.add(change.key))
        self._jobs.add_handler(lambda change: self.runner.add_all(runner.owners(change, "CronJob")))

    def _decide(self, key: str) -> writes.Decision:
        owner = self._cron_jobs.cache.get(key)
        if owner is None:
            return writes.NOTHING
        jobs = self._jobs.cache.indexed("controller", owner["metadata"]["uid"])
        return decide.decide(decide.Snapshot(owner, jobs, self._clock.now()))
