"""Resource limits of containers by cgroups, version 2 or 1, where we may; `fairlead/CLUSTER/UID/CONTAINER`.

Promises: a container is started in its cgroup or not at all; without limits of its own it has a limited number of
processes only. Requests are not turned into shares: all pods would then weigh as much as one process beside the
machine's others (the engine among them) and starve under load. `remove` and, after a crash, `clean` take the folders
away. Where cgroups cannot be made, `Cgroups.why` says so and whoever asked for limits hears it in an Event. Blocking.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.api import quantity

Object = dict[str, Any]
MOST_PROCESSES = 4096
_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use. 0 is no limit."""

    cpu_cores: float = 0.0
    memory_bytes: int = 0


def limits_of(container: Object) -> Limits:
    """The container's limits. Raises QuantityError."""
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    cpu = quantity.milli(limits["cpu"]) / 1000 if limits.get("cpu") is not None else 0.0
    memory = quantity.value(limits["memory"]) if limits.get("memory") is not None else 0
    return Limits(cpu, memory)


def has_limits(container: Object) -> bool:
    """Whether it asks for a hard limit."""
    limits = (container.get("resources") or {}).get("limits") or {}
    return bool(limits.keys() & {"cpu", "memory"})


class Cgroups:
    """The cgroups of one cluster. `why` is "" when they can be made. The number of a container's processes is always
    limited, so that a fork bomb hurts its own container only."""

    def __init__(
        self, cluster: str, *, root: Path = Path("/sys/fs/cgroup"), most_processes: int = MOST_PROCESSES
    ) -> None:
        self._most_processes = str(most_processes)
        self._name = f"fairlead/{cluster}"
        self._root = root
        self._unified = (root / "cgroup.controllers").exists()
        self.why = self._probe()

    def _probe(self) -> str:
        try:
            for base in self._bases():
                base.mkdir(parents=True, exist_ok=True)
                if self._unified:
                    _delegate(self._root, base)
        except OSError as error:
            return f"cgroups cannot be made here: {error}"
        return "" if self._bases() else "no cgroup controllers are mounted in /sys/fs/cgroup"

    def _bases(self) -> list[Path]:
        if self._unified:
            return [self._root / self._name]
        found = [
            self._root / word for word in ("cpu", "memory", "pids") if (self._root / word / "cgroup.procs").exists()
        ]
        return [path / self._name for path in found]

    def make(self, uid: str, container: str, limits: Limits) -> tuple[str, ...]:
        """The cgroup folders of one container, limits written. Raises OSError."""
        made = []
        for base in self._bases():
            if not self._needs(base, limits):
                continue
            folder = base / uid / container
            folder.mkdir(parents=True, exist_ok=True)
            if self._unified:
                _delegate(base, base / uid)
                _write_unified(folder, limits)
                (folder / "pids.max").write_text(self._most_processes)
                _weigh(base.parent, "cpu.weight", one=100, most=10_000)
            elif base.parents[1].name == "pids":
                (folder / "pids.max").write_text(self._most_processes)
            else:
                _write_v1(folder, limits)
            made.append(str(folder))
        return tuple(made)

    def _needs(self, base: Path, limits: Limits) -> bool:
        """Version 1: a container is in the hierarchies of its own limits alone."""
        controller = base.parents[1].name
        if self._unified or controller == "pids":
            return True
        return bool(limits.cpu_cores if controller == "cpu" else limits.memory_bytes)

    def remove(self, uid: str) -> None:
        """Takes a pod's cgroups away; they are empty once its processes are gone."""
        for base in self._bases():
            _remove_tree(base / uid)

    def close(self) -> None:
        """Takes the cluster's cgroups away."""
        for base in self._bases():
            _remove_tree(base)
            with contextlib.suppress(OSError):
                base.parent.rmdir()  # only when no other cluster is in it


def clean(cluster: str) -> None:
    """What `close` does, for a cluster whose process died."""
    Cgroups(cluster).close()


def _delegate(root: Path, folder: Path) -> None:
    """Version 2: the controllers are handed down to every level above `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = root
    for part in (*folder.relative_to(root).parts,):
        (path / "cgroup.subtree_control").write_text("+cpu +memory +pids")
        path = path / part
    (path / "cgroup.subtree_control").write_text("+cpu +memory +pids")


def _write_unified(folder: Path, limits: Limits) -> None:
    if limits.cpu_cores:
        (folder / "cpu.max").write_text(f"{int(limits.cpu_cores * _PERIOD_US)} {_PERIOD_US}")
    if limits.memory_bytes:
        (folder / "memory.max").write_text(str(limits.memory_bytes))
        with contextlib.suppress(OSError):
            (folder / "memory.oom.group").write_text("1")


def _write_v1(folder: Path, limits: Limits) -> None:
    controller = folder.parents[3].name
    if controller == "cpu":
        if limits.cpu_cores:
            (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(max(1000, int(limits.cpu_cores * _PERIOD_US))))
        _weigh(folder.parents[2], "cpu.shares", one=1024, most=262_144)
    if controller == "memory" and limits.memory_bytes:
        (folder / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))


def _weigh(top: Path, file: str, *, one: int, most: int) -> None:
    """All containers together weigh as many as they are, not as one."""
    count = sum(1 for path in top.glob("*/*/*") if path.is_dir())
    (top / file).write_text(str(min(most, one * max(count, 1))))


def _remove_tree(folder: Path) -> None:
    """cgroup folders go by rmdir only, children first."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)  # noqa: PTH106 - os.walk gives texts
