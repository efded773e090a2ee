"""What the peers have in common: a program that is found (or installed once), started with a file, and reloaded."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import candidates, lab

INSTALLED = Path(__file__).resolve().parent / ".installed"


@functools.cache
def _install() -> str:
    """Runs the installer of peers once; returns what it said when it failed."""
    script = lab.ROOT / "scripts" / "install-peers"
    done = subprocess.run([str(script), sys.executable, str(INSTALLED)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-300:]


def find(name: str, *places: Path) -> str:
    """The program's path, installed if need be; raises Missing."""
    found = _look(name, places)
    if found:
        return found
    said = _install()
    found = _look(name, places)
    if not found:
        raise candidates.Missing(f"{name} is not installed and could not be: {said or 'no package offers it'}")
    return found


def _look(name: str, places: Sequence[Path]) -> str | None:
    paths = [str(place) for place in places if place.is_file()]
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") or next(iter(paths), None)


class Program:
    """A peer that runs: one process (with its descendants) that serves at `address`."""

    def __init__(self, process: lab.Process, port: int) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"

    def pids(self) -> Sequence[int]:
        """Its first process."""
        return [self.process.pid]

    async def change(self, job: candidates.Job) -> None:
        """Nothing to change by default."""
        raise candidates.Unable(f"{self.process.name} is not changed while it runs in this benchmark")

    def stop(self) -> None:
        """Ends it."""
        self.process.stop()
