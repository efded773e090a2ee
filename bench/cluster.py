"""A local cluster of fairlead's for a benchmark: a name and a state folder of its own, ephemeral ports, taken down at
the end.

It is started as a user starts it (`fairlead up`), spoken to through its kubeconfig, and its processes are known by
the state folder in their command lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import psutil

import fairlead
from bench import cpu, engine, lab, memory
from fairlead.client import https, kubeconfig, protocol

_FAIRLEAD = (sys.executable, "-m", "fairlead.cli.main")


class Cluster:
    """A running cluster. `edge` is the address of its HTTP door."""

    def __init__(self, lab_: lab.Lab, network: str, flags: Sequence[str] = ()) -> None:
        self.lab = lab_
        self.network = network
        self.flags = tuple(flags)
        self.name = f"bench-{os.getpid()}"
        self.home = lab_.path("cluster")
        self.edge = f"127.0.0.1:{lab.free_port()}"
        source = str(Path(fairlead.__file__).resolve().parent.parent)  # the background process starts in another folder
        self.env = {"FAIRLEAD_STATE": str(self.home), "FAIRLEAD_ENGINE": engine.binary(), "PYTHONPATH": source}
        self.https = f"127.0.0.1:{lab.free_port()}"

    @property
    def folder(self) -> Path:
        """Its state."""
        return self.home / self.name

    def up(self, *paths: Path, detach: bool = True) -> lab.Process:
        """Runs `fairlead up`; returns at once."""
        words = [*_FAIRLEAD, "up", "--name", self.name, "--network", self.network, "--http", self.edge]
        words += ["--https", self.https, *self.flags, *(["-d"] if detach else []), *map(str, paths)]
        return self.lab.spawn("up", words, env=self.env)

    async def start(self, *paths: Path) -> None:
        """`fairlead up -d`, until it says that everything is up. Raises RuntimeError with its output if it is not."""
        process = self.up(*paths)
        for _ in range(1000):
            if process.popen.poll() is not None:
                break
            await asyncio.sleep(0.1)
        if process.popen.poll() != 0:
            raise RuntimeError(f"fairlead up failed:\n{process.tail(30)}\n{self._log()}")

    def _log(self, lines: int = 20) -> str:
        """The end of fairlead's own log."""
        logs = [file.read_text(errors="replace") for file in self.folder.glob("log/fairlead.log")]
        return "\n".join("\n".join(logs).splitlines()[-lines:])

    def run(self, *words: str, check: bool = True) -> str:
        """A fairlead command for this cluster."""
        env = {**os.environ, **self.env}
        argv = [*_FAIRLEAD, *words, "--name", self.name]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=180)
        if check and done.returncode != 0:
            raise RuntimeError(f"fairlead {' '.join(words)} failed: {done.stdout} {done.stderr}")
        return done.stdout

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[protocol.Client]:
        """A client as the cluster's administrator."""
        made, exchange = https.client(kubeconfig.load(self.folder / "kubeconfig"))
        try:
            yield made
        finally:
            await exchange.close()

    def processes(self) -> dict[str, list[int]]:
        """Our processes by part: fairlead, engine, shims. The pods' own are not among them."""
        found: dict[str, list[int]] = {"fairlead": [], "engine": [], "shims": []}
        for process in psutil.process_iter(["cmdline", "pid", "name"]):
            words = process.info["cmdline"] or []
            part = _part(words, process.info["name"], str(self.folder), self.name)
            if part == "engine":
                found[part] += cpu.family([process.info["pid"]])
            elif part:
                found[part].append(process.info["pid"])
            elif words[1:2] == ["worker"] and _writes_to(process.info["pid"], self.folder):
                found["engine"].append(process.info["pid"])  # of a master that was killed: it is nobody's child
        found["engine"] = list(dict.fromkeys(found["engine"]))
        return found

    def pids(self) -> list[int]:
        """All of ours, without descendants that are pods."""
        return [pid for part in self.processes().values() for pid in part]

    def cpu_seconds(self) -> float:
        """CPU of ours so far; what the shims waited for (the pods) is not in it."""
        return own_seconds(self.pids())

    def memory_mb(self) -> dict[str, float]:
        """PSS by part."""
        return {part: memory.pss_mb(pids) for part, pids in self.processes().items()}

    def down(self) -> None:
        """Takes everything down and removes the state."""
        self.run("down", "--purge", check=False)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


def own_seconds(pids: Iterable[int]) -> float:
    """CPU of exactly these processes, without dead children."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime(((~pid) << 3) | 2)
    return total


def _writes_to(pid: int, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/2").startswith(str(folder))  # noqa: PTH115
    except OSError:
        return False


def _part(words: list[str], title: str, folder: str, name: str) -> str:
    line = " ".join(words)
    if folder in line and words[1:2] == ["shim"]:  # a shim is a copy of the spawner, with its command line
        return "fairlead" if "--spawner" in words and title != "fairlead-shim" else "shims"
    if folder in line and words[1:2] == ["master"]:  # whatever the binary is called
        return "engine"
    if "fairlead.cli.main" in line and name in words and ("serve" in words or "up" in words):
        return "fairlead"
    return ""


@contextlib.asynccontextmanager
async def opened(lab_: lab.Lab, *, network: str = "", flags: Sequence[str] = ()) -> AsyncIterator[Cluster]:
    """A cluster that is down afterwards, whatever happens; `flags` are more words of `fairlead up`. It is not started
    yet."""
    made = Cluster(lab_, network or lab_.options.network, flags)
    try:
        yield made
    finally:
        await asyncio.to_thread(made.down)


async def first_answer(
    address: str, host: str, *, path: str = "/", seconds: float = 60.0, process: lab.Process | None = None
) -> float:
    """Asks until the answer is 200; returns when that was (monotonic). Each try is a new connection, 5 ms apart. Raises
    RuntimeError when it takes too long, or when `process` has ended."""
    host_, _, port = address.rpartition(":")
    ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    end = time.monotonic() + seconds
    while time.monotonic() < end and (process is None or process.popen.poll() is None):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host_, int(port))
            writer.write(ask)
            line = await reader.readline()
            writer.close()
            if b" 200 " in line:
                return time.monotonic()
        await asyncio.sleep(0.005)
    raise RuntimeError(f"no answer 200 from {address} for {host}\n{process.tail() if process else ''}")
