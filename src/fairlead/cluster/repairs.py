"""Repairs of the kernel's rules, told as Warning Events on the Node: somebody's tool should stop doing that.

Each is told, unless one was told less than ten seconds before: then it is counted, and the next one tells how many
there were. Before there is anybody to tell it to, it is counted as well.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from fairlead.base import clock as clocks
from fairlead.client import events

REASON = "RulesRepaired"
APART_SECONDS = 10.0


class Telling(Protocol):
    """Records Events (`client.events.Recorder`)."""

    def event(self, obj: dict[str, Any], type: Literal["Normal", "Warning"], reason: str, message: str) -> None: ...


class Repairs:
    """One cluster's. `tell_by` says who writes the Events."""

    def __init__(self, clock: clocks.Clock) -> None:
        self._clock = clock
        self._recorder: Telling | None = None
        self._node = ""
        self._told_at = float("-inf")
        self._untold = 0

    def tell_by(self, recorder: Telling, node: str) -> None:
        """From now on, as that Node's."""
        self._recorder, self._node = recorder, node

    def note(self, problem: str) -> None:
        """The rules were written anew because of that."""
        if self._recorder is None or self._clock.monotonic() < self._told_at + APART_SECONDS:
            self._untold += 1
            return
        more = f"; {self._untold} more times since this was told last" if self._untold else ""
        self._told_at, self._untold = self._clock.monotonic(), 0
        message = f"Somebody changed the rules of the cluster's Services ({problem}); they were written anew{more}"
        self._recorder.event(events.node(self._node), "Warning", REASON, message)
