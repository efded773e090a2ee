"""What somebody waits for goes first: work that may wait asks here for a calm moment.

Promises: urgent work is only counted, it never waits; work that may wait is never held for longer than it says itself,
however long the rush lasts; moments are calm at once where nothing is urgent (a cluster that is not ours has no rush).
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead.base import clock as clocks

PAUSE_SECONDS = 0.05  # what was urgent has consequences, which are as urgent
LOOK_SECONDS = 0.02
ROOM = 4


class Leisure:
    """Counts what is urgent now. Pairs of `begin` and `end`; `calm` and `room_for_more` wait. `room` is how much of
    what is urgent is done side by side; what is more waits for its turn."""

    def __init__(self, clock: clocks.Clock) -> None:
        self.room = ROOM
        self._clock = clock
        self._urgent = 0
        self._ended_at = float("-inf")

    def begin(self) -> None:
        """Something urgent has come up."""
        self._urgent += 1

    def end(self) -> None:
        """It is done, or was given up."""
        self._urgent -= 1
        self._ended_at = self._clock.monotonic()

    @property
    def crowded(self) -> bool:
        """So much is urgent that what comes soon again is better done once for all of it."""
        return self._urgent > self.room

    @property
    def _is_calm(self) -> bool:
        return not self._urgent and self._clock.monotonic() >= self._ended_at + PAUSE_SECONDS

    async def calm(self, *, at_most_seconds: float, unless: Callable[[], bool] = lambda: False) -> None:
        """Returns in a calm moment, after so long, or once `unless` says that it cannot wait any longer."""
        end = self._clock.monotonic() + at_most_seconds
        while not self._is_calm and not unless() and (left := end - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(LOOK_SECONDS, left))

    async def room_for_more(self, *, at_most_seconds: float) -> None:
        """Returns when new urgent things would be begun soon, or after so long: until then they only take time from
        those that have begun."""
        end = self._clock.monotonic() + at_most_seconds
        while self._urgent >= 2 * self.room and (left := end - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(LOOK_SECONDS, left))

    def __repr__(self) -> str:
        return f"<Leisure: {self._urgent} urgent>"
