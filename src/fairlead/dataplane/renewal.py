"""Whether a running engine is the binary that would be started now: after an upgrade of fairlead it is an older one.

Promises: equal bytes are the same engine, wherever they lie; what cannot be looked at (a foreign process, another pid
namespace) counts as the same. `/proc/PID/exe` is the running file, also when it was replaced on the disk (proc(5)).
"""

from __future__ import annotations

import filecmp
import pathlib


def is_outdated(master_pid: int, binary: str) -> bool:
    """Whether the master runs another engine than the binary. Reads both files where they are two: not for a loop."""
    running = pathlib.Path(f"/proc/{master_pid}/exe")
    try:
        return not running.samefile(binary) and not filecmp.cmp(running, binary, shallow=False)
    except OSError:
        return False
