"""CPU and memory of pods and containers, sampled from /proc every second or as often as asked: the processes of a
container are its first process, all of its descendants, and whoever is left of its session.

CPU is what living members have used plus what their reaped children had used (`cutime`), so nothing is lost when a
worker process comes and goes. The last 120 samples are kept; a rate over a window needs two samples of the same start.
"""

from __future__ import annotations

import asyncio
import collections
import os
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

from fairlead.base import clock

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KEPT = 120
PERIOD_SECONDS = 1.0

Key = tuple[str, str, str]  # namespace, pod, container


@dataclass(frozen=True, slots=True)
class Sample:
    """What one container had used at one moment. `at` is seconds since 1970."""

    at: float
    pid: int
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container uses. `window_seconds` is over how long the CPU rate was measured."""

    cpu_cores: float
    memory_bytes: int
    window_seconds: float
    at: float


class PodUsage:
    """The samples of every container that runs. `roots` tells which processes to look at."""

    def __init__(
        self, roots: Callable[[], Mapping[Key, int]], *, timer: clock.Clock, period_seconds: float = PERIOD_SECONDS
    ) -> None:
        self._roots = roots
        self._timer = timer
        self._period = period_seconds
        self._samples: dict[Key, collections.deque[Sample]] = {}
        self._of_pod: dict[tuple[str, str], dict[str, collections.deque[Sample]]] = {}

    async def run(self) -> None:
        """Samples until cancelled. /proc is read in a thread."""
        jumps = clock.Jumps(self._timer)
        while True:
            roots = dict(self._roots())
            if moved := jumps.seconds():
                self.move(moved)
            if roots:
                self.add(await asyncio.to_thread(observe, roots, self._timer.now()))
            self.keep(roots.keys())
            await self._timer.sleep(self._period)

    def add(self, samples: Mapping[Key, Sample]) -> None:
        """Keeps these samples."""
        for key, sample in samples.items():
            kept = self._samples.get(key)
            if kept is None:
                kept = self._samples[key] = collections.deque(maxlen=_KEPT)
                self._of_pod.setdefault(key[:2], {})[key[2]] = kept
            if kept and kept[-1].pid != sample.pid:
                kept.clear()
            kept.append(sample)

    def move(self, seconds: float) -> None:
        """The wall clock was set: a rate is of the time that has passed, whatever it says."""
        for kept in self._samples.values():
            moved = [replace(sample, at=sample.at + seconds) for sample in kept]
            kept.clear()
            kept.extend(moved)

    def keep(self, running: Set[Key]) -> None:
        """Forgets the containers that are not among these."""
        for key in self._samples.keys() - running:
            del self._samples[key]
            left = self._of_pod[key[:2]]
            del left[key[2]]
            if not left:
                del self._of_pod[key[:2]]

    def usage(self, namespace: str, pod: str, *, window_seconds: float = 15.0) -> dict[str, Usage]:
        """What each container of that pod uses; containers with fewer than two samples are missing."""
        samples = self._of_pod.get((namespace, pod)) or {}
        return {name: _rate(kept, window_seconds) for name, kept in samples.items() if len(kept) >= 2}


def _rate(kept: collections.deque[Sample], window_seconds: float) -> Usage:
    last = kept[-1]
    first = next(sample for sample in kept if last.at - sample.at <= window_seconds or sample is kept[-2])
    seconds = max(last.at - first.at, 1e-3)
    cores = max(0.0, last.cpu_seconds - first.cpu_seconds) / seconds
    return Usage(cores, last.memory_bytes, seconds, last.at)


@dataclass(slots=True)
class _Process:
    parent: int
    session: int
    ticks: int
    pages: int


def observe(roots: Mapping[Key, int], at: float) -> dict[Key, Sample]:
    """One sample of each container, by one walk through /proc. Blocking (about 15 us a process)."""
    processes = _processes()
    children: dict[int, list[int]] = {}
    sessions: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
        sessions.setdefault(process.session, []).append(pid)
    samples = {}
    for key, root in roots.items():
        if root not in processes:
            continue
        members = _members(root, children) | set(sessions.get(root, ()))
        ticks = sum(processes[pid].ticks for pid in members)
        pages = sum(processes[pid].pages for pid in members)
        samples[key] = Sample(at, root, ticks / _TICKS, pages * _PAGE)
    return samples


def _members(root: int, children: Mapping[int, list[int]]) -> set[int]:
    found, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def _processes() -> dict[int, _Process]:
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - twice as fast, and this runs every second
        if not name.isdigit():
            continue
        try:
            descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY)
        except OSError:
            continue
        try:
            content = os.read(descriptor, 1024)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        fields = content[content.rfind(b")") + 2 :].split()
        found[int(name)] = _Process(
            int(fields[1]), int(fields[3]), sum(int(fields[at]) for at in (11, 12, 13, 14)), int(fields[21])
        )
    return found
