"""How long a thread of ours may hold a processor before others: bursts of deciding must not delay a request.

Promises: a thread that says `long` keeps its fair share of the processor, and is put aside at once by any thread that
wakes up with an ordinary slice: the engine, an application. Without it those wait for the scheduler's next tick (4 ms
at 250 Hz) at each hop of a request. Not inherited by processes that it starts. A kernel before 6.12, which knows no
slices of a thread's own, and one that refuses are left as they are: nothing depends on it but latency. After
sched_setattr(2), `sched_runtime` of SCHED_OTHER.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SECONDS = 0.1  # the longest that Linux takes
_NUMBERS = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_RESET_ON_FORK = 1
# size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max
_ATTRIBUTES = struct.Struct("=IIQiIQQQII")


def long() -> bool:
    """For the calling thread, which is one of SCHED_OTHER or stays as it is. Whether the kernel took it."""
    number = _NUMBERS.get(platform.machine())
    if number is None or not hasattr(os, "sched_getscheduler") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    words = (_ATTRIBUTES.size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, int(SECONDS * 1e9), 0, 0, 0, 0)
    given = ctypes.create_string_buffer(_ATTRIBUTES.pack(*words))
    taken: int = ctypes.CDLL(None, use_errno=True).syscall(number, 0, given, 0)
    return taken == 0
