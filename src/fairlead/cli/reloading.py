"""`fairlead run --reload`: a changed file restarts a Deployment by rolling, and the outcome is told.

What programs write beside their sources (logs, databases, locks, caches, version control, our own redirected output) is
no change: an application that logs into its own folder would restart itself for ever. Each line names the file that
changed, so that what is still missing from the list is seen, and can be left out with `--reload-exclude`.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.cli import bringup
from fairlead.client import protocol

if TYPE_CHECKING:
    import watchfiles

READY_SECONDS = 60.0
WRITTEN = (
    "*.log", "*.log.*", "*.out", "*.err", "nohup.out", "*.pid", "*.sock", "*.lock", "*.tmp", "*.part",
    "*.db", "*.db-*", "*.sqlite", "*.sqlite-*", "*.sqlite3", "*.sqlite3-*", ".coverage*", "*.prof",
)  # fmt: skip


class Excluded:
    """Which files are left alone: by name, by path below the folder, or because our own output goes there."""

    def __init__(self, folder: Path, patterns: Iterable[str]) -> None:
        self._folder = folder
        self._patterns = (*WRITTEN, *patterns)
        self._ours = {found for number in (1, 2) if (found := _file_of(number))}

    def __call__(self, path: str) -> bool:
        place = Path(path)
        below = place.relative_to(self._folder) if place.is_relative_to(self._folder) else place
        if any(fnmatch.fnmatch(text, one) for one in self._patterns for text in (place.name, str(below))):
            return True
        try:
            seen = place.stat()
        except OSError:  # it is gone, which is a change
            return False
        return (seen.st_dev, seen.st_ino) in self._ours


def _file_of(number: int) -> tuple[int, int] | None:
    try:
        seen = os.fstat(number)
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def follower(name: str, folder: Path, exclude: Iterable[str] = ()) -> bringup.Follow:
    """Restarts the Deployment by rolling whenever files below the folder change."""
    excluded = Excluded(folder, exclude)

    async def follow(client: protocol.Client) -> None:
        import watchfiles

        class Sources(watchfiles.DefaultFilter):
            def __call__(self, change: watchfiles.Change, path: str) -> bool:
                return super().__call__(change, path) and not excluded(path)

        watching, telling = False, asyncio.ensure_future(asyncio.sleep(0))
        try:
            async for changes in watchfiles.awatch(
                folder, watch_filter=Sources(), rust_timeout=1000, yield_on_timeout=True
            ):
                if not watching:  # the first answer says that the watch is in place
                    bringup.say(f"reload    watching {folder}")
                    watching = True
                if not changes:
                    continue
                telling.cancel()
                await _restart(client, name)
                bringup.say(f"reload    {_files(changes, folder)} changed: rolling")
                telling = asyncio.ensure_future(_tell(client, name))
        finally:
            telling.cancel()

    return follow


def _files(changes: set[tuple[watchfiles.Change, str]], folder: Path) -> str:
    names = sorted(os.path.relpath(path, folder) for _, path in changes)
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


async def _restart(client: protocol.Client, name: str) -> None:
    stamp = {"kubectl.kubernetes.io/restartedAt": clocks.rfc3339_micro(clocks.SystemClock().now())}
    patch = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    await client.patch(kinds.DEPLOYMENT, name, patch, namespace="default")


async def _tell(client: protocol.Client, name: str) -> None:
    """Says what fails meanwhile, and how it ended."""
    from fairlead.cli import progress, remarks

    clock = clocks.SystemClock()
    started = clock.monotonic()
    late = await progress.follow(
        client,
        [progress.Awaited(kinds.DEPLOYMENT, "default", name)],
        clock=clock,
        started=started,
        timeout_seconds=READY_SECONDS,
        say=bringup.say,
        only_failures=True,
    )
    if not late:
        bringup.say(f"reload    the new copies serve after {clock.monotonic() - started:.1f} s")
        return
    bringup.say("reload    the new copies are not ready; those from before go on")
    for text in await remarks.not_ready(client, late):
        bringup.say(f"          {text}")
