"""Resource limits of containers by cgroups, version 2 or 1, where we may; `fairlead/CLUSTER/UID/CONTAINER`.

Promises: a container is started in its cgroup or not at all; without limits of its own it has a limited number of
processes only. Requests are not turned into shares: all pods would then weigh as much as one process beside the
machine's others (the engine among them) and starve under load. `remove` and, after a crash, `clean` take the folders
away. Where cgroups cannot be made, `Cgroups.why` says so and whoever asked for limits hears it in an Event. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.api import quantity
from fairlead.base import privilege

Object = dict[str, Any]
MOST_PROCESSES = 4096
SPARE_DATA_BYTES = 256 << 20
_PERIOD_US = 100_000
_CONTROLLERS = "+cpu +memory +pids"


@dataclass(frozen=True, slots=True)
class _Base:
    """The cluster's folder in one hierarchy. `controller` is "" for version 2, which has them all."""

    controller: str
    folder: Path
    text: str
    above: str


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


def instead(limits: Limits) -> dict[str, tuple[int, int]]:
    """What a process can be held to where no cgroup can be made (setrlimit(2)): a runaway, not a budget.

    Data counts what is mapped to be written, of which runtimes (Go, the JVM, threads' stacks) map more than they use.
    Processes are counted by user; only in a user namespace of ours are those the pods' alone. None is raised.
    """
    wanted = {}
    if privilege.in_own_namespace():
        wanted["nproc"] = (resource.RLIMIT_NPROC, MOST_PROCESSES)
    if limits.memory_bytes:
        wanted["data"] = (resource.RLIMIT_DATA, 2 * limits.memory_bytes + SPARE_DATA_BYTES)
    found = {}
    for name, (number, most) in wanted.items():
        known = resource.getrlimit(number)[1]
        most = most if known == resource.RLIM_INFINITY else min(most, known)
        found[name] = (most, most)
    return found


def has_limits(container: Object) -> bool:
    """Whether it asks for a hard limit."""
    limits = (container.get("resources") or {}).get("limits") or {}
    return bool(limits.keys() & {"cpu", "memory"})


class Cgroups:
    """The cgroups of one cluster. `why` is "" when they can be made. The number of a container's processes is always
    limited, so that a fork bomb hurts its own container only. `plan` only says; who starts the container carries it
    out."""

    def __init__(
        self, cluster: str, *, root: Path = Path("/sys/fs/cgroup"), most_processes: int = MOST_PROCESSES
    ) -> None:
        self._most_processes = str(most_processes)
        self._name = f"fairlead/{cluster}"
        self._root = root
        self._unified = (root / "cgroup.controllers").exists()
        self._bases = self._find_bases()
        self._containers: set[tuple[str, str]] = set()
        self._leaving: set[str] = set()
        self._removing = threading.Lock()
        self.why = self._probe()

    def _probe(self) -> str:
        try:
            for base in self._bases:
                base.folder.mkdir(parents=True, exist_ok=True)
                if self._unified:
                    _delegate(self._root, base.folder)
        except OSError as error:
            return f"cgroups cannot be made here: {error}"
        for base in self._bases:  # of our earlier life
            self._containers |= {(path.parent.name, path.name) for path in base.folder.glob("*/*") if path.is_dir()}
        return "" if self._bases else "no cgroup controllers are mounted in /sys/fs/cgroup"

    def _find_bases(self) -> list[_Base]:
        words = [""] if self._unified else ["cpu", "memory", "pids"]
        mounted = [word for word in words if self._unified or (self._root / word / "cgroup.procs").exists()]
        folders = {word: self._root / word / self._name for word in mounted}
        return [_Base(word, folder, str(folder), str(folder.parent)) for word, folder in folders.items()]

    def plan(self, uid: str, container: str, limits: Limits) -> dict[str, dict[str, str]]:
        """What is to be made for one container: folders, and what is written in files of each. Its own end with
        UID/CONTAINER. Nothing where cgroups cannot be made."""
        if self.why:
            return {}
        made: dict[str, dict[str, str]] = {}
        self._containers.add((uid, container))
        for base in self._bases:
            folder = f"{base.text}/{uid}/{container}"
            if self._unified:
                made[f"{base.text}/{uid}"] = {"cgroup.subtree_control": _CONTROLLERS}
                made[folder] = _unified(limits) | {"pids.max": self._most_processes}
                made[base.above] = self._weight("cpu.weight", one=100, most=10_000)
            elif base.controller == "pids":
                made[folder] = {"pids.max": self._most_processes}
            elif base.controller == "cpu" and limits.cpu_cores:  # version 1: in the hierarchies of its own limits alone
                made[folder] = _cpu_v1(limits)
                made[base.above] = self._weight("cpu.shares", one=1024, most=262_144)
            elif base.controller == "memory" and limits.memory_bytes:
                made[folder] = {"memory.limit_in_bytes": str(limits.memory_bytes)}
        return made

    def _weight(self, file: str, *, one: int, most: int) -> dict[str, str]:
        """All containers together weigh as many as they are, not as one."""
        return {file: str(min(most, one * max(len(self._containers), 1)))}

    def uids(self) -> set[str]:
        """The pods that have, or are to have, cgroups here."""
        return {uid for uid, _ in self._containers}

    def remove(self, uid: str) -> None:
        """Takes a pod's cgroups away; they are empty once its processes are gone. What is not yet (a process that was
        killed is still ending) goes with the next pod's."""
        self._containers = {one for one in self._containers if one[0] != uid}
        with self._removing:
            self._leaving = {one for one in {*self._leaving, uid} if not self._remove(one)}

    def _remove(self, uid: str) -> bool:
        folders = [f"{base.text}/{uid}" for base in self._bases]
        for folder in folders:
            _remove_tree(folder)
        return not any(map(os.path.exists, folders))

    def close(self) -> None:
        """Takes the cluster's cgroups away."""
        for base in self._bases:
            _remove_tree(base.text)
            with contextlib.suppress(OSError):
                base.folder.parent.rmdir()  # only when no other cluster is in it


def clean(cluster: str) -> None:
    """What `close` does, for a cluster whose process died."""
    Cgroups(cluster).close()


def _delegate(root: Path, folder: Path) -> None:
    """Version 2: the controllers are handed down to every level above `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = root
    for part in (*folder.relative_to(root).parts,):
        (path / "cgroup.subtree_control").write_text(_CONTROLLERS)
        path = path / part
    (path / "cgroup.subtree_control").write_text(_CONTROLLERS)


def _unified(limits: Limits) -> dict[str, str]:
    files = {"cpu.max": f"{int(limits.cpu_cores * _PERIOD_US)} {_PERIOD_US}"} if limits.cpu_cores else {}
    if limits.memory_bytes:
        files |= {"memory.max": str(limits.memory_bytes), "memory.oom.group": "1"}
    return files


def _cpu_v1(limits: Limits) -> dict[str, str]:
    quota = max(1000, int(limits.cpu_cores * _PERIOD_US))
    return {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": str(quota)}


def _remove_tree(folder: str) -> None:
    """cgroup folders go by rmdir only, children first."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)  # noqa: PTH106 - os.walk gives texts
