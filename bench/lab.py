"""Where a benchmark runs: its temporary folder, its processes, its cores and its ports. Everything ends with it.

Processes are started in their own session, pinned to a core, and ended by pid (SIGTERM, then SIGKILL); their output
goes to files in the folder. With one core only, candidate and load share it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from fairlead.testing import ports

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cores:
    """Which cores the candidate and the load tools run on."""

    candidate: str
    load: str


def raise_file_limit(wanted: int = 65_536) -> None:
    """Lets this process and its children hold many connections, as far as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        with contextlib.suppress(ValueError, PermissionError):
            return resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    return None


def cores() -> Cores:
    """The first core for the candidate, the others for the load."""
    mine = sorted(os.sched_getaffinity(0))
    return Cores(str(mine[0]), ",".join(map(str, mine[1:] or mine)))


@dataclass
class Process:
    """A process of the lab's."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id; the candidate itself, not a wrapper."""
        return self.popen.pid

    def cpu_seconds(self) -> float:
        """CPU of it and its descendants so far."""
        return cpu.family_seconds([self.pid])

    def tail(self, lines: int = 15) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Ends it and all its descendants."""
        family = cpu.family([self.pid])
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                if pid != self.pid and os.getsid(pid) == self.pid:
                    os.kill(pid, 9)
        if self.popen.stdout is not None:
            self.popen.stdout.close()


class Lab:
    """What a benchmark is given. `options` are the command line's."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.quick: bool = options.quick
        self.folder = folder
        self.cores = cores()
        self.began = time.monotonic()
        self._processes: list[Process] = []

    def rounds(self, usual: int, quick: int) -> int:
        """How many rounds: --rounds, else the benchmark's own."""
        return self.options.rounds or (quick if self.quick else usual)

    def seconds(self, usual: float, quick: float) -> float:
        """How long one measurement: --seconds, else the benchmark's own."""
        return self.options.seconds or (quick if self.quick else usual)

    def progress(self, text: str) -> None:
        """Tells people what is going on (standard error; the report goes to standard output)."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def since(self, at: float) -> float:
        """Seconds since 1970 as those that `progress` shows."""
        return at - time.time() + time.monotonic() - self.began

    def path(self, name: str) -> Path:
        """A new folder within the lab's."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        core: str = "",
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> Process:
        """Starts a process; with `core`, on that core only. `taskset` replaces itself, so the pid is the program's."""
        log = self.folder / f"{name}-{len(self._processes)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*(["taskset", "-c", core] if core else []), *argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout or output,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """Ends every process, the newest first."""
        for process in reversed(self._processes):
            process.stop()


@contextlib.contextmanager
def opened(options: argparse.Namespace) -> Iterator[Lab]:
    """A lab whose processes and folder are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fairlead-bench-"))
    folder.chmod(0o755)  # a peer may drop its privileges
    raise_file_limit()
    lab = Lab(options, folder)
    try:
        yield lab
    finally:
        lab.close()
        if options.keep:
            lab.progress(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nobody holds now, for programs that cannot be handed a socket."""
    return ports.free(address)


async def listening(process: Process, port: int, *, seconds: float = 15.0) -> None:
    """Returns when something accepts on the port; raises RuntimeError with the process's output when it does not
    come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.popen.poll() is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    raise RuntimeError(f"{process.name} does not listen on port {port}:\n{process.tail()}")
