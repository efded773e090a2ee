"""Time as an argument: code that waits or stamps takes a Clock, tests pass one that they move themselves."""

from __future__ import annotations

import asyncio
import functools
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the rooms may know of time. Seconds are floats."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds of this clock."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Jumps:
    """Notices that the wall clock was set, or that the machine slept: it has moved otherwise than monotonic time."""

    TOLERATED_SECONDS = 1.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()

    def seconds(self) -> float:
        """How far it was set since the last call, negative for back; 0.0 almost always. Who keeps times of `now` moves
        them by it."""
        offset = self._clock.now() - self._clock.monotonic()
        moved = offset - self._offset
        if abs(moved) <= self.TOLERATED_SECONDS:
            return 0.0
        self._offset = offset
        return moved


def rfc3339(seconds: float) -> str:
    """`metav1.Time`: whole seconds, as Kubernetes writes creationTimestamp."""
    return f"{_second(int(seconds))}Z"


@functools.lru_cache(maxsize=64)
def _second(second: int) -> str:
    """Asked for some thousand times within one second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339_micro(seconds: float) -> str:
    """`metav1.MicroTime`: six decimals, as Lease and Event write it."""
    micros = round(seconds * 1_000_000)
    return f"{_second(micros // 1_000_000)}.{micros % 1_000_000:06}Z"


def parse_rfc3339(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time. Raises ValueError for anything else."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
