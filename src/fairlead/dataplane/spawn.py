"""Finds the engine's binary and starts its master, detached: it outlives us and carries traffic without us."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

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


def start_master(binary: str, *, socket_path: str, log_path: str = "") -> subprocess.Popen[bytes]:
    """Starts `fairlead-engine master` in a session of its own. What it prints goes to the log."""
    with open(log_path or os.devnull, "ab") as log:  # noqa: PTH123
        return subprocess.Popen(
            [binary, "master", "--socket", socket_path],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            close_fds=True,
            cwd="/",
        )
