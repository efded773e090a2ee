"""Resident memory as PSS: pages shared by several processes count to each by its share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from bench import cpu


def pss_mb(pids: Iterable[int]) -> float:
    """Megabytes (10^6 bytes) of the processes named, without their descendants."""
    total_kib = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total_kib += _pss_kib(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return total_kib * 1024 / 1e6


def family_pss_mb(pids: Iterable[int]) -> float:
    """Megabytes of the processes and all their descendants."""
    return pss_mb(cpu.family(pids))


def _pss_kib(text: str) -> int:
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
