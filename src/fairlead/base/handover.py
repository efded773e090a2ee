"""How soon the interpreter's lock changes hands, set for a process of one busy loop and a few threads that serve it.

Promises: a thread whose system call has ended (a commit, a netlink answer) goes on half a millisecond later at the
latest, and the loop gets the lock back as soon from a thread that computes. Python's own 5 ms are paid at each of
the eight calls that connect a pod while the loop is busy with others.
"""

from __future__ import annotations

import sys

SECONDS = 0.0005


def quick() -> None:
    """For the life of the process."""
    sys.setswitchinterval(SECONDS)
