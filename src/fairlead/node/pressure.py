"""When the node runs short of disk, memory or processes: the node's pressure conditions.

Promises: the kubelet's default thresholds (Kubernetes' node-pressure eviction: nodefs.available 10 %, nodefs.inodesFree
5 %, memory.available 100 MiB) and its transition period of five minutes, so that a condition does not flap. The kubelet
has no default for processes; here fewer than 5 % of the machine's left is pressure. Refuses: to evict anything or to
keep new pods away by a taint. The machine is its user's: a disk that is 91 % full of other things would end a cluster
that works. `Gauge` reads the machine, `Pressure` decides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

TRANSITION_SECONDS = 300.0
LEAST_DISK = 0.10
LEAST_INODES = 0.05
LEAST_MEMORY_BYTES = 100 << 20
LEAST_PROCESSES = 0.05

Kind = Literal["MemoryPressure", "DiskPressure", "PIDPressure"]
KINDS: tuple[Kind, ...] = ("MemoryPressure", "DiskPressure", "PIDPressure")
_WORDS = {
    "MemoryPressure": ("KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "memory available"),
    "DiskPressure": ("KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "disk pressure"),
    "PIDPressure": ("KubeletHasInsufficientPID", "KubeletHasSufficientPID", "PID available"),
}
_EVENTS = {
    "MemoryPressure": ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    "DiskPressure": ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    "PIDPressure": ("NodeHasInsufficientPID", "NodeHasSufficientPID"),
}


@dataclass(frozen=True, slots=True)
class Signals:
    """What is left. A total of 0 is not known (some file systems count no inodes)."""

    disk_bytes: int = 0
    disk_total_bytes: int = 0
    inodes: int = 0
    inodes_total: int = 0
    memory_bytes: int = LEAST_MEMORY_BYTES
    processes: int = 0
    processes_total: int = 0


def shortages(signals: Signals) -> dict[Kind, str]:
    """What is short, and in which words."""
    found: dict[Kind, str] = {}
    if signals.memory_bytes < LEAST_MEMORY_BYTES:
        found["MemoryPressure"] = f"{signals.memory_bytes >> 20} MiB of memory are available, less than 100 MiB"
    if _below(signals.inodes, signals.inodes_total, LEAST_INODES):
        found["DiskPressure"] = f"{signals.inodes} of {signals.inodes_total} inodes are free, less than 5 %"
    if _below(signals.disk_bytes, signals.disk_total_bytes, LEAST_DISK):
        free, total = signals.disk_bytes / (1 << 30), signals.disk_total_bytes / (1 << 30)
        found["DiskPressure"] = f"{free:.1f} of {total:.1f} GiB are free, less than 10 %"
    if _below(signals.processes, signals.processes_total, LEAST_PROCESSES):
        found["PIDPressure"] = f"{signals.processes} of {signals.processes_total} processes are left, less than 5 %"
    return found


def _below(left: int, total: int, share: float) -> bool:
    return total > 0 and left < share * total


@dataclass(frozen=True, slots=True)
class Turn:
    """A condition that has changed, as an Event tells it."""

    warning: bool
    reason: str
    message: str


@dataclass(slots=True)
class _State:
    since: float
    why: str = ""
    seen_at: float = 0.0


@dataclass(slots=True)
class Pressure:
    """The three conditions over time. Times are seconds since 1970."""

    _states: dict[Kind, _State] = field(default_factory=dict)

    def observe(self, signals: Signals, now: float) -> list[Turn]:
        """Takes in what is left; returns what has changed by it."""
        short, turns = shortages(signals), []
        for kind in KINDS:
            state = self._states.setdefault(kind, _State(now))
            if kind in short:
                state.seen_at = now
                if not state.why:
                    turns.append(_begun(kind, short[kind]))
                    state.since = now
                state.why = short[kind]
            elif state.why and now - state.seen_at >= TRANSITION_SECONDS:
                state.why, state.since = "", now
                turns.append(Turn(False, _EVENTS[kind][1], f"Node status is now: {_EVENTS[kind][1]}"))
        return turns

    def conditions(self) -> list[tuple[str, str, str, str, float]]:
        """(type, status, reason, message, since) of each."""
        found: list[tuple[str, str, str, str, float]] = []
        for kind in KINDS:
            state = self._states.get(kind, _State(0.0))
            bad, good, words = _WORDS[kind]
            fine = f"kubelet has {'no' if kind == 'DiskPressure' else 'sufficient'} {words}"
            found.append(
                (kind, "True", bad, state.why, state.since) if state.why else (kind, "False", good, fine, state.since)
            )
        return found


def _begun(kind: Kind, why: str) -> Turn:
    reason = _EVENTS[kind][0]
    return Turn(True, reason, f"Node status is now: {reason}: {why}; no pod is evicted or kept away for it")


class Gauge:
    """Reads what is left on this machine; `folder` is where pods' files are. Blocking, microseconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> Signals:
        """What cannot be read counts as not short."""
        disk = self._disk()
        running, most = _processes()
        return Signals(
            disk_bytes=disk.f_bavail * disk.f_frsize if disk else 0,
            disk_total_bytes=disk.f_blocks * disk.f_frsize if disk else 0,
            inodes=disk.f_favail if disk else 0,
            inodes_total=disk.f_files if disk else 0,
            memory_bytes=_memory_available(),
            processes=most - running,
            processes_total=most,
        )

    def _disk(self) -> os.statvfs_result | None:
        try:
            return os.statvfs(self._folder)
        except OSError:
            return None


def _memory_available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return LEAST_MEMORY_BYTES


def _processes() -> tuple[int, int]:
    """(that run, that may run): threads count, as they do for the kernel."""
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        limits = [int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max")]
    except (OSError, ValueError, IndexError):
        return 0, 0
    return running, min(limits)
