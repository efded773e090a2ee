"""Python's cycle collector, set for a process that holds hundreds of thousands of objects which are no garbage."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000


def calm() -> None:
    """Rarer collections, for the life of the process: a fifth less CPU while thousands of objects are listed."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
