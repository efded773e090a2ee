"""Finds the engine's binary and starts its master, detached: it outlives us and carries traffic without us."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys

from fairlead.base import descriptors

NAME = "fairlead-engine"


class EngineMissing(Exception):
    """There is no engine to start; the message says where it was looked for."""


def find_binary() -> str:
    """`FAIRLEAD_ENGINE`, else beside the Python interpreter, else on PATH. Raises EngineMissing."""
    named = os.environ.get("FAIRLEAD_ENGINE")
    if named:
        if os.access(named, os.X_OK):
            return named
        raise EngineMissing(f"FAIRLEAD_ENGINE names {named}, which cannot be executed")
    beside = pathlib.Path(sys.executable).parent / NAME
    if os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which(NAME)
    if found is None:
        raise EngineMissing(f"no {NAME} beside {sys.executable} nor on PATH; set FAIRLEAD_ENGINE to its path")
    return found


def start_master(binary: str, *, socket_path: str, log_path: str = "") -> int:
    """Starts `fairlead-engine master` in a session of its own and returns its pid. What it prints goes to the log.

    Raises OSError.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        binary,
        [binary, "master", "--socket", socket_path],
        os.environ,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log_path or os.devnull, append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in descriptors.inheritable()),
        ],
    )


def is_running(pid: int) -> bool:
    """Whether a master that we started still runs; one that has ended is reaped."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
