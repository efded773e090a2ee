"""Keeps the logs of a cluster that runs for months small: fairlead's own, and the engine's.

Promises: a log over 32 MiB is copied to NAME.1 (whose older text goes) and begun anew: each takes 64 MiB at most.
Who writes keeps its file, which is opened for appending; what it writes in the moment between copy and cut is lost, as
with logrotate's `copytruncate`. A disk without room for the copy gets none: the log is begun anew all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from fairlead.base import clock as clocks

NAMES = ("fairlead.log", "engine.log")
MOST_BYTES = 32 << 20
LOOK_SECONDS = 60.0


async def keep_small(folder: Path, *, clock: clocks.Clock, most_bytes: int = MOST_BYTES) -> None:
    """Looks once a minute, for ever."""
    while True:
        await asyncio.to_thread(shorten, folder, most_bytes=most_bytes)
        await clock.sleep(LOOK_SECONDS)


def shorten(folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Begins the logs that are too large anew. Blocking."""
    for path in (folder / name for name in NAMES):
        with contextlib.suppress(OSError):
            if path.stat().st_size > most_bytes:
                _begin_anew(path)


def _begin_anew(path: Path) -> None:
    old = path.with_name(f"{path.name}.1")
    try:
        shutil.copyfile(path, old)
        old.chmod(0o600)
    except OSError:  # no room: the newest is what helps
        old.unlink(missing_ok=True)
    os.truncate(path, 0)
