"""Tells in an Event why a pod has no node: the API server places pods, and says so in the pod's condition only.

As Kubernetes' scheduler: `FailedScheduling` from `default-scheduler`, once for each new reason.
"""

from __future__ import annotations

from fairlead.api import kinds
from fairlead.client import informer
from fairlead.controllers import conditions, context
from fairlead.controllers.writes import Object

NAME = "default-scheduler"


class Scheduling:
    """The controller."""

    def __init__(self, given: context.Context) -> None:
        self._recorder = given.recorder(NAME)
        given.informers.of(kinds.POD).add_handler(self._changed)

    def _changed(self, change: informer.Change) -> None:
        if change.new is None or change.new["spec"].get("nodeName"):
            return
        why = _why(change.new)
        if why and (change.old is None or _why(change.old) != why):
            self._recorder.event(change.new, "Warning", "FailedScheduling", why)


def _why(pod: Object) -> str:
    condition = conditions.find(pod, "PodScheduled")
    return str(condition.get("message", "")) if condition and condition.get("reason") == "Unschedulable" else ""
