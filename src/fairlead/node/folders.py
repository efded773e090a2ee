"""Folders of pods that may hold file systems in memory: made, measured and removed without leaving a mount behind.

What is generated for a pod (its /etc files, its Secrets, ConfigMaps and tokens) never needs to be on a disk: where
`open_memory` could make a file system in memory for all pods, in STATE/pods/.memory, `small` is a folder in it.
Blocking. Mounting needs CAP_SYS_ADMIN; `can_mount` says whether we have it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
from pathlib import Path

_CAP_SYS_ADMIN = 21
_MS_NOSUID, _MS_NODEV = 2, 4
_MNT_DETACH = 2
_MEMORY = ".memory"


def can_mount() -> bool:
    """Whether we may make mounts (and mount namespaces for others)."""
    return _can_mount(os.stat("/proc/self/ns/user").st_ino)  # noqa: PTH116 - asked for each pod


@functools.lru_cache(maxsize=8)
def _can_mount(user_namespace: int) -> bool:
    """Only a new user namespace gives us other capabilities."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def names(pods: Path) -> list[str]:
    """The pods that have a folder there."""
    return [entry.name for entry in pods.glob("[!.]*") if entry.is_dir()]


def open_memory(pods: Path) -> bool:
    """Makes the file system for the small files of all pods, or finds that of our earlier life."""
    path = pods / _MEMORY
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.is_mount():
        try:
            mount_memory(path, mode="0700")
        except OSError:
            path.rmdir()
            return False
    return True


def close_memory(pods: Path) -> None:
    """Takes it away with all in it."""
    path = pods / _MEMORY
    if path.is_mount():
        _libc().umount2(os.fsencode(path), _MNT_DETACH)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()


def small(folder: Path) -> Path:
    """Where the pod that has this folder keeps what is generated for it."""
    pods, name = os.path.split(folder)
    memory = f"{pods}/{_MEMORY}"
    with contextlib.suppress(FileNotFoundError):
        if os.lstat(memory).st_dev != os.lstat(pods).st_dev:  # a third of what Path.is_mount asks
            return Path(memory, name)
    return folder


def mount_memory(path: Path, *, size_bytes: int = 0, mode: str = "0777") -> None:
    """Puts a file system in memory over that folder; without a size it may take half of the memory. Raises OSError."""
    options = f"mode={mode}" + (f",size={size_bytes}" if size_bytes else "")
    flags = _MS_NOSUID | _MS_NODEV
    _checked(_libc().mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, options.encode()), path)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, path: Path) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def remove(folder: Path) -> None:
    """Removes the folder of a pod with all in it; what is mounted below its volumes is unmounted first."""
    for path in folder.glob("volumes/*"):
        if path.is_mount():
            _libc().umount2(os.fsencode(path), _MNT_DETACH)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder.parent / _MEMORY / folder.name, ignore_errors=True)


def remove_tree(folder: Path) -> None:
    """Removes a folder of containers' files, in which there may be some that their owner may not write in. Blocking."""
    for path, _, _ in os.walk(folder):  # top down: what is made accessible is gone into
        _open_up(path)
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                _open_up(entry.path)
    shutil.rmtree(folder, ignore_errors=True)


def _open_up(path: str) -> None:
    with contextlib.suppress(OSError):
        os.chmod(path, 0o700)  # noqa: PTH101 - one of very many


def used_bytes(folder: Path) -> int:
    """What the files below take on the disk, each counted once however many names it has."""
    seen: set[tuple[int, int]] = set()
    total, waiting = 0, [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue  # removed meanwhile
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total
