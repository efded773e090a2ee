"""Removes what a cluster left running when nobody is left to do it: after `kill -9`, and as the last look of `down`.

Everything is found from the state folder: the engine by its socket or its log, shims by theirs; links, routes and rules
by the cluster's name. Processes are ended by a pidfd after their command line was checked, so never somebody else's.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

from fairlead.base import log
from fairlead.cluster import doorkeeper, rootless, state
from fairlead.dataplane import nftables
from fairlead.node import cgroups, engines, folders
from fairlead.node.network import kernel

_log = log.get(__name__)
GENTLE_SECONDS = 2.0
_LOOKS = 5
_NAMES = (
    "fairlead-engine",
    "fairlead-master",
    "fairlead-worker",
    "fairlead-shim",
    "fairlead-init",
    rootless.HOLDER,
    *doorkeeper.CONNECTORS,
    "pasta.avx2",
)
_CONTAINERS = ("podman", "conmon")  # those of rootless mode, whose storage is the cluster's


def sweep(folder: state.StateFolder) -> list[str]:
    """Ends and removes everything of the cluster but its state. Returns what was found, for people. Blocking."""
    found = []
    for _ in range(_LOOKS):  # a shim that was just being started is seen at the second look
        seen = list(_processes(folder))
        for pid, what in seen:
            end(pid)
            found.append(f"ended {what} (pid {pid})")
        if not seen:
            break
    containers = engines.clean(os.environ, folders.names(folder.pods))
    if containers:
        found.append(f"removed {containers} containers")
    if os.geteuid() == 0:
        cgroups.clean(folder.name)
    record = folder.read()
    if record.network == "kernel" and os.geteuid() == 0:
        nftables.delete_table(f"fairlead-{folder.name}")
        kernel.clean(folder.name, record.given)
    for path in folder.run.glob("*"):
        path.unlink(missing_ok=True)
    for name in folders.names(folder.pods):
        folders.remove(folder.pods / name)
    folders.close_memory(folder.pods)
    return found


def outlived(folder: state.StateFolder) -> bool:
    """Whether there are pods of an earlier life of the cluster, and something of it still runs. Blocking."""
    return bool(folders.names(folder.pods)) and any(True for _ in _processes(folder))


def _processes(folder: state.StateFolder) -> Iterator[tuple[int, str]]:
    """The engine's processes and every shim and its children, engine first, parents before children."""
    ours = str(folder.path) + "/"
    for entry in sorted(Path("/proc").iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else 0):
        if entry.name.isdigit():
            words = _command(int(entry.name))
            if _is_engine(words) and _is_of(int(entry.name), words, ours):
                what = f"engine {words[1]}" if len(words) > 1 else "engine"
                if Path(words[0]).name in _CONTAINERS:
                    what = Path(words[0]).name
                for child in _descendants(int(entry.name)):
                    yield child, f"process of {what}"
                yield int(entry.name), what


def _is_engine(words: list[str]) -> bool:
    known = bool(words) and (
        Path(words[0]).name in (*_NAMES, *_CONTAINERS) or words[:2] == ["/proc/self/exe", "worker"]
    )
    return known or words[1:2] in (["master"], ["shim"])  # FAIRLEAD_ENGINE may have any name


def _is_of(pid: int, words: list[str], folder: str) -> bool:
    """Whether that process of the engine's is this cluster's: its command line says so, or the log that it writes to (a
    worker's command line names nothing, and its master may have died)."""
    if Path(words[0]).name in _CONTAINERS:
        return any(word.startswith(f"{folder}containers/") for word in words[1:])
    if any(word.startswith(folder) for word in words[1:]):
        return True
    try:
        return os.readlink(f"/proc/{pid}/fd/2").startswith(folder)  # noqa: PTH115 - "(deleted)" and all
    except OSError:
        return False


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [one for child in children for one in (*_descendants(child), child)]


def end(pid: int, *, gentle_seconds: float = 0.0) -> None:
    """Ends one process: SIGTERM first where there is time for it, then SIGKILL; returns when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number, seconds in ((signal.SIGTERM, gentle_seconds), (signal.SIGKILL, GENTLE_SECONDS)):
            if seconds:
                signal.pidfd_send_signal(descriptor, number)
                if select.select([descriptor], [], [], seconds)[0]:
                    return
        _log.error("process does not end", pid=pid)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
