"""Who we really are: root of the machine, root of a user namespace of our own, or neither.

In a user namespace of one mapped user everything of that user's looks like root's, and nobody else can be become
(user_namespaces(7)).
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

_ALL_IDS = 4294967295


def is_root() -> bool:
    """Root that may become others: of the machine, or of a container with all users mapped."""
    return os.geteuid() == 0 and not in_own_namespace()


def in_own_namespace() -> bool:
    """Whether we are in a user namespace of our own making, with this one user in it."""
    ranges = _mapped()
    return len(ranges) == 1 and ranges[0][2] == 1


def real_uid() -> int:
    """The user that the machine knows us by."""
    ranges = _mapped()
    return ranges[0][1] if in_own_namespace() else os.geteuid()


def _mapped() -> list[tuple[int, int, int]]:
    """(first inside, first outside, count) of each range."""
    try:
        return _map_of(os.stat("/proc/self/ns/user").st_ino)  # noqa: PTH116 - asked some times for each pod
    except OSError:
        return [(0, 0, _ALL_IDS)]
    except LookupError:
        return []


@functools.lru_cache(maxsize=8)
def _map_of(namespace: int) -> list[tuple[int, int, int]]:
    """The map of the user namespace that we are in. It is written once (user_namespaces(7)). Raises LookupError before
    that, OSError where there is none."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    if not lines:
        raise LookupError("not written yet")
    return [(int(inside), int(outside), int(count)) for inside, outside, count in (line.split() for line in lines)]
