"""The load tools (`bench/loadgen`, a small Rust crate), built when first needed: a backend, a closed loop, an open
loop, and many held connections. The structs are the JSON of `loadgen/src/spec.rs` and `outcome.rs`."""

from __future__ import annotations

import asyncio
import functools
import signal
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import lab

_CRATE = Path(__file__).resolve().parent / "loadgen"


class Stall(msgspec.Struct, frozen=True):
    """Server `server` begins no work in the first `for_seconds` of every `every_seconds`."""

    server: int
    every_seconds: float
    for_seconds: float


class BackendSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Simulated servers, one per port; see `loadgen/src/backend.rs` for what they answer."""

    servers: int
    address: str = "127.0.0.1"
    ports: tuple[int, ...] = ()
    answer_bytes: int = 128
    workers: int = 1
    slowness: tuple[float, ...] = ()
    stalls: tuple[Stall, ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go and what they are."""

    addresses: tuple[str, ...]
    host: str = "bench.test"
    method: str = "GET"
    paths: tuple[str, ...] = ("/",)
    paths_file: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body_bytes: int = 0
    count_header: str = "x-pod"
    timeout_seconds: float = 10.0
    sources: int = 0
    new_connections: bool = False


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """Each connection sends its next request when the last one is answered."""

    target: Target
    connections: int = 64
    seconds: float = 0.0
    requests: int = 0


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` requests a second are due whatever the answers do; latencies count from the due time. `record` is a file
    for all answers, see `Outcome.answers`."""

    target: Target
    rate: float
    seconds: float
    seed: int = 0
    poisson: bool = False
    connections: int = 64
    warmup_seconds: float = 0.0
    timeline: bool = False
    record: str = ""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that stay after one request, or upgraded ones that speak once a period."""

    target: Target
    connections: int
    seconds: float
    upgrade: bool = False
    period_seconds: float = 0.0


class Abuse(msgspec.Struct, frozen=True, kw_only=True):
    """Clients that take what they can get; see `loadgen/src/abuse.rs`. It says when its connections are there."""

    target: Target
    kind: str  # idle, headers, bodies, readers, resets
    connections: int
    seconds: float
    per_second: float = 0.0


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Pod(msgspec.Struct, frozen=True):
    """Answers of one server; `first` and `last` in seconds since 1970."""

    answers: int
    first: float
    last: float


class Second(msgspec.Struct, frozen=True):
    """One second of an open loop, by due time."""

    second: int
    answered: int
    failed: int
    p99_ms: float


class Outcome(msgspec.Struct, frozen=True):
    """What a generator saw: `due` = `answered` + `failed`."""

    due: int
    answered: int
    failed: int
    failures: dict[str, int]
    statuses: dict[str, int]
    pods: dict[str, Pod]
    body_bytes: int
    seconds: float
    latency_ms: Latency
    late_ms: Latency
    connections_opened: int
    closed_idle: int
    failed_at: list[tuple[float, str, str]]
    timeline: list[Second] = []
    answers: list[tuple[float, float]] = []  # of a recorded loop: when each was due (since 1970), and its milliseconds

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    def why(self) -> str:
        """The failures in words, for a person."""
        first = [f"{reason}: {detail}" for _, reason, detail in self.failed_at[:3]]
        return f"{self.failed} of {self.due} failed {self.failures} {first}" if self.failed else "none failed"


class Held(msgspec.Struct, frozen=True):
    """What became of held connections."""

    wanted: int
    opened: int
    closed: int
    failed: int
    said: int
    heard: int
    slowest_ms: float


class Backend:
    """A running backend: `addresses` has one entry per simulated server."""

    def __init__(self, process: lab.Process, ports: Sequence[int], address: str) -> None:
        self.process = process
        self.ports = tuple(ports)
        self.addresses = tuple(f"{address}:{port}" for port in ports)


@functools.cache
def binary() -> str:
    """The load tool's path, built if its sources are newer."""
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", str(_CRATE / "Cargo.toml")]
    command += ["--target-dir", str(_CRATE / "target")]
    subprocess.run(command, check=True)
    return str(_CRATE / "target/release/loadgen")


def _argv(command: str, spec: msgspec.Struct) -> list[str]:
    return [binary(), command, msgspec.json.encode(spec).decode()]


async def backend(lab_: lab.Lab, spec: BackendSpec) -> Backend:
    """Starts a backend on the load's cores."""
    process = lab_.spawn("backend", _argv("backend", spec), core=lab_.cores.load, stdout=subprocess.PIPE)
    assert process.popen.stdout is not None
    line = await asyncio.to_thread(process.popen.stdout.readline)
    if not line:
        raise RuntimeError(f"the backend did not start:\n{process.tail()}")
    return Backend(process, msgspec.json.decode(line)["ports"], spec.address)


class Running:
    """A generator at work."""

    def __init__(self, process: lab.Process, record: str = "") -> None:
        self.process = process
        self._record = record

    async def line(self) -> bytes:
        """Its next line of output."""
        assert self.process.popen.stdout is not None
        return await asyncio.to_thread(self.process.popen.stdout.readline)

    async def whole(self) -> bytes:
        """All of its output, when it has ended; raises RuntimeError when it failed."""
        assert self.process.popen.stdout is not None
        text = await asyncio.to_thread(self.process.popen.stdout.read)
        await asyncio.to_thread(self.process.popen.wait)
        if self.process.popen.returncode != 0 or not text:
            raise RuntimeError(f"the generator failed:\n{self.process.tail()}")
        return text

    async def output(self) -> bytes:
        """Its last line, when it has ended."""
        return (await self.whole()).splitlines()[-1]

    def enough(self) -> None:
        """No more requests become due; those that were are still waited for. (Open loops only.)"""
        self.process.popen.send_signal(signal.SIGUSR1)

    async def outcome(self) -> Outcome:
        """What a closed or open loop saw."""
        seen = msgspec.json.decode(await self.output(), type=Outcome)
        if not self._record:
            return seen
        recorded = await asyncio.to_thread(Path(self._record).read_bytes)
        return msgspec.structs.replace(seen, answers=list(struct.iter_unpack("<dd", recorded)))

    async def held(self) -> Held:
        """What became of held connections."""
        return msgspec.json.decode(await self.output(), type=Held)


def start(lab_: lab.Lab, spec: Closed | Open | Hold | Abuse) -> Running:
    """Starts a generator on the load's cores and returns at once."""
    command = type(spec).__name__.lower()
    process = lab_.spawn(command, _argv(command, spec), core=lab_.cores.load, stdout=subprocess.PIPE)
    return Running(process, spec.record if isinstance(spec, Open) else "")


async def closed(lab_: lab.Lab, spec: Closed) -> Outcome:
    """Runs a closed loop to its end."""
    return await start(lab_, spec).outcome()


async def open_loop(lab_: lab.Lab, spec: Open) -> Outcome:
    """Runs an open loop to its end."""
    return await start(lab_, spec).outcome()
