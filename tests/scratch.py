"""The one folder that holds all which a test run makes, and the end of those that killed runs have left.

A run holds a lock on its folder. The kernel lets go of it however the run ends: a folder without a lock has no owner,
whichever process namespace that was in. Nothing is removed through a mount: where something stays mounted, all stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

PREFIX = "flt-"


def claim(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock. Its name is short: a socket's path has 107 characters."""
    while True:
        folder = parent / f"{PREFIX}{os.urandom(2).hex()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o755)
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():  # nobody took it for a dead one meanwhile
                return folder, held
            os.close(held)


def abandoned(parent: Path) -> list[Path]:
    """The folders of dead runs that this user owns."""
    found = []
    for folder in parent.glob(f"{PREFIX}????"):
        with contextlib.suppress(OSError):
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(held).st_uid == os.geteuid():
                    found.append(folder)
            finally:
                os.close(held)
    return found


def clear(folder: Path) -> None:
    """Ends what a dead run has left: its clusters, its processes, its mounts and its folder."""
    for state in folder.glob("fl-state-*/*/"):
        subprocess.run(
            [sys.executable, "-m", "fairlead.cli.main", "down", "--name", state.name, "--force", "--purge"],
            env={**os.environ, "FAIRLEAD_STATE": str(state.parent)}, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        places = [process.info["cwd"] or "", *(process.info["cmdline"] or ())]
        if process.info["pid"] != os.getpid() and any(f"{folder}/" in f"{place}/" for place in places):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.info["pid"], signal.SIGKILL)
    for mounted in _mounts(folder):
        subprocess.run(["umount", "--lazy", mounted], capture_output=True, check=False)
    if not _mounts(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _mounts(folder: Path) -> list[str]:
    """What is mounted beneath, the deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return sorted((point for point in points if point.startswith(f"{folder}/")), key=len, reverse=True)


def begin() -> tuple[Path, int]:
    """Clears what dead runs have left; from now on what this process makes for a while is in a folder of its own."""
    parent = Path(tempfile.gettempdir())
    for folder in abandoned(parent):
        clear(folder)
    folder, held = claim(parent)
    tempfile.tempdir = str(folder)
    return folder, held
