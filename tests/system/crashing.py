"""fairlead's command line in a process that is killed (SIGKILL) by its store: the plan is a file (see `Plan`).

`python -m tests.system.crashing serve …` is `fairlead serve …`, but for this: once a write that the plan names has
come, the process dies when exactly so many further writes are on the disk, whatever batch they came in; the last
of them is not acknowledged. Without a file it is fairlead as it is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fairlead.store import log

VARIABLE = "CRASH_PLAN"
_append = log.Log.append


class Plan(msgspec.Struct):
    """When to die: `after` writes behind the first of that key whose value holds those words."""

    key: str
    words: str
    after: int


class Crash:
    """Counts the writes of this process's store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left: int | None = None

    def append(self, opened: log.Log, rows: Sequence[log.Row]) -> None:
        kept = self._kept(rows)
        if kept is None:
            _append(opened, rows)
            return
        _append(opened, rows[:kept])
        os.kill(os.getpid(), signal.SIGKILL)

    def _kept(self, rows: Sequence[log.Row]) -> int | None:
        """How many of the rows are still written; None is all of them, and life goes on."""
        begin = 0
        if self._left is None:
            begin = self._begin(rows)
        if self._left is None:
            return None
        here = len(rows) - begin
        if self._left <= here:
            return begin + self._left
        self._left -= here
        return None

    def _begin(self, rows: Sequence[log.Row]) -> int:
        """Where the named write is among the rows; what comes behind it counts."""
        if not self._path.exists():
            return 0
        plan = msgspec.json.decode(self._path.read_bytes(), type=Plan)
        for number, (_, key, _, _, _, value, _) in enumerate(rows, 1):
            if key == plan.key and plan.words.encode() in value:
                self._path.unlink()
                self._left = plan.after
                return number
        return 0


def main() -> None:
    crash = Crash(Path(os.environ[VARIABLE]))
    log.Log.append = lambda opened, rows: crash.append(opened, rows)  # type: ignore
    from fairlead.cli import main as line

    line.main()


if __name__ == "__main__":
    main()
