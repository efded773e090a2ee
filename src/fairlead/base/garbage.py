"""Python's cycle collector, set for a process that holds hundreds of thousands of objects which are no garbage.

Promises: what a collection looks at while there is work is bounded (some 60,000 objects, about 15 ms), however much the
process holds; a look at everything (0.2 s of a million objects) is taken when the process is idle, and what has lived
through it is frozen until the next, so that none but idle moments pay for it.
"""

from __future__ import annotations

import ctypes
import gc
import time

from fairlead.base import clock as clocks

YOUNG_OBJECTS = 10_000
YOUNG_TURNS = 5
NEVER = 1_000_000  # turns of the middle generation until all is looked at without being asked
LOOK_SECONDS = 5.0
IDLE_SHARE = 0.1  # of a core
REST_SECONDS = 300.0  # between two looks at everything


def calm() -> None:
    """Small collections, for the life of the process; `tidy` does the large ones."""
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_TURNS, NEVER)


async def tidy(clock: clocks.Clock) -> None:
    """Collects everything in idle moments, for ever: when there may be something new, and not often."""
    done = -1
    while True:
        used = time.process_time()
        await clock.sleep(LOOK_SECONDS)
        turns = gc.get_stats()[1]["collections"]  # of the middle generation: objects grew old since
        if turns != done and time.process_time() - used < IDLE_SHARE * LOOK_SECONDS:
            everything()
            done = turns
            await clock.sleep(REST_SECONDS)


def everything() -> int:
    """One look at all objects; those that stay are not looked at again before the next. Says how many were garbage."""
    gc.unfreeze()
    found = gc.collect()
    gc.freeze()
    return found


def give_back() -> None:
    """What the C library keeps free within its heap goes to the system, a few milliseconds of work: it kept what a busy
    hour had needed. glibc's only."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def leave() -> None:
    """The process ends: nothing is worth a last look, which takes 0.7 s of a million objects."""
    gc.freeze()
