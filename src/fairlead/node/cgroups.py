"""Resource limits and shares of containers by cgroups, version 2 or 1, where we may; `fairlead/CLUSTER/UID/CONTAINER`.

Promises: a container is started in its cgroup or not at all; without limits of its own it has its CPU share and a
number of processes. `remove` and, after a crash, `clean` take the folders away. Where cgroups cannot be made,
`Cgroups.why` says so and whoever asked for limits hears it in an Event. Blocking, a few file writes each.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.api import quantity

Object = dict[str, Any]
MOST_PROCESSES = 4096
_PERIOD_US = 100_000
_LEAST_SHARES = 2
_LARGEST_SHARES = 262_144


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use. 0 is no limit; `cpu_request_cores` only weighs it against the others."""

    cpu_cores: float = 0.0
    cpu_request_cores: float = 0.0
    memory_bytes: int = 0


def limits_of(container: Object) -> Limits:
    """The container's resources; a request that is missing is its limit. Raises QuantityError."""
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    cpu = quantity.milli(limits["cpu"]) / 1000 if limits.get("cpu") is not None else 0.0
    asked = quantity.milli(requests["cpu"]) / 1000 if requests.get("cpu") is not None else cpu
    memory = quantity.value(limits["memory"]) if limits.get("memory") is not None else 0
    return Limits(cpu, asked, memory)


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
            folder = base / uid / container
            folder.mkdir(parents=True, exist_ok=True)
            if self._unified:
                _delegate(base, base / uid)
                _write_unified(folder, limits)
                (folder / "pids.max").write_text(self._most_processes)
            elif base.parents[1].name == "pids":
                (folder / "pids.max").write_text(self._most_processes)
            else:
                _write_v1(folder, limits)
            made.append(str(folder))
        return tuple(made)

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
    if limits.cpu_request_cores:
        shares = _shares(limits.cpu_request_cores)
        (folder / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142))
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
        if limits.cpu_request_cores:
            (folder / "cpu.shares").write_text(str(_shares(limits.cpu_request_cores)))
    if controller == "memory" and limits.memory_bytes:
        (folder / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))


def _shares(cores: float) -> int:
    return min(_LARGEST_SHARES, max(_LEAST_SHARES, math.ceil(cores * 1024)))


def _remove_tree(folder: Path) -> None:
    """cgroup folders go by rmdir only, children first."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)  # noqa: PTH106 - os.walk gives texts
