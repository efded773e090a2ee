"""How much CPU a set of processes has used: user and system time of all their threads, waited-for children included.

A living process is read from its CPU clock (the sum that the kernel also shows as utime + stime in /proc/PID/stat,
there rounded to hundredths of a second); its dead children from cutime + cstime. Kernel threads that belong to a
process (io_uring workers) are threads of it and are counted; what the kernel does for the loopback device is counted
to whoever sent.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2


def process_seconds(pid: int) -> float:
    """CPU seconds of one process so far. Raises ProcessLookupError when it is gone."""
    try:
        own = time.clock_gettime(((~pid) << 3) | _CPUCLOCK_SCHED)
        return own + _dead_children_seconds(pid)
    except OSError as error:
        raise ProcessLookupError(pid) from error


def stat_seconds(pid: int) -> float:
    """utime + stime + cutime + cstime as /proc/PID/stat has them (precision: one tick each)."""
    fields = _stat_fields(pid)
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _dead_children_seconds(pid: int) -> float:
    return sum(int(field) for field in _stat_fields(pid)[13:15]) / _TICKS


def _stat_fields(pid: int) -> list[str]:
    # The name in parentheses may hold anything, so count from its end.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pids: Iterable[int]) -> list[int]:
    """The processes and all their descendants, each once."""
    found: dict[int, None] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found[pid] = None
            found.update({child.pid: None for child in process.children(recursive=True)})
    return list(found)


def family_seconds(pids: Iterable[int]) -> float:
    """CPU seconds of the processes and all their descendants so far."""
    total = 0.0
    for pid in family(pids):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            total += process_seconds(pid)
    return total
