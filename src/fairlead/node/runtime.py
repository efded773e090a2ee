"""What runs containers, as the node agent sees it: one Sandbox per pod, containers in it by name.

`processes.ProcessRuntime` (under a shim) and `containers.ContainerRuntime` (Podman or Docker) pass the same check
suite, `tests/node/check_runtime.py`. A Sandbox outlives us: `open` adopts the one that runs, containers and all.
What the user asked for and cannot be had is `StartFailed`, with a reason in the kubelet's words.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from fairlead.base import secret
from fairlead.node import protocols, streams

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """As whom a process runs. `None` for `uid` leaves it as who we are (the only choice without privilege)."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of one container. A tmpfs has no source."""

    target: str
    source: str = ""
    kind: Literal["bind", "tmpfs"] = "bind"
    read_only: bool = False
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NewFile:
    """A small file that is written (or, with `link`, a symbolic link that is made) before a container starts, with the
    folders on the way."""

    path: str
    text: str = ""
    mode: int = 0o644
    owner: tuple[int, int] | None = None
    link: str = ""


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """Everything that is decided about one start of one container. `argv` may be empty for a runtime with images."""

    name: str
    image: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    log: str
    attempt: int = 0
    args: tuple[str, ...] = ()  # only for a runtime with images, when the manifest gives args without command
    credentials: Credentials = field(default_factory=Credentials)
    mounts: tuple[Mount, ...] = ()
    no_new_privs: bool = True
    capabilities: tuple[str, ...] | None = None
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    cgroups: tuple[str, ...] = ()
    make_cgroups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # folder -> file -> what is written
    files: tuple[NewFile, ...] = ()
    read_only_root: bool = False
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[secret.Secret, ...] = ()  # to try one after another
    memory_bytes: int = 0
    cpu_cores: float = 0.0
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs. `id` is unique among all starts, `at` seconds since 1970."""

    id: str
    pid: int
    at: float
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended. `exit_code` is 128 + signal for one that a signal ended."""

    container: str
    pid: int
    exit_code: int
    finished_at: float
    started_at: float = 0.0
    signal: int = 0
    oom: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A container that an adopted Sandbox already runs."""

    pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command in a container answered."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class ExecProbe:
    """An exec probe with the timings of docs/protocol.md."""

    id: str
    container: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    initial_delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    fast_start: bool = True


class StartFailed(Exception):
    """The container did not start. `reason` is the kubelet's word for its state, `event` the one for the Event."""

    def __init__(self, reason: str, message: str, *, event: str = "Failed") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.event = event


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What a pod's sandbox is made of."""

    uid: str
    namespace: str
    name: str
    hostname: str
    own_network: bool
    files: Mapping[str, str] = field(default_factory=dict)  # in the pod's folder before anything of it runs
    share_processes: bool = True
    sysctls: Mapping[str, str] = field(default_factory=dict)
    wiring: Sequence[protocols.Batch] = ()  # what connects its network, for a runtime that can send it


class Listener(Protocol):
    """Who is told what happens in a sandbox. Called on the loop, must not block."""

    def exited(self, exit: Exit) -> None: ...

    def lost(self, message: str) -> None:
        """The sandbox itself died; no container of it runs any more."""


class Sandbox(Protocol):
    """One pod's place. Every method may raise SandboxLost."""

    @property
    def netns_pid(self) -> int:
        """A process whose network namespace is the pod's."""
        ...

    @property
    def adopted(self) -> bool: ...

    @property
    def connected(self) -> bool:
        """Whether the wiring was sent and did it."""
        ...

    def running(self) -> Mapping[str, Running]:
        """What ran when the sandbox was opened (adoption)."""
        ...

    def ended(self) -> Sequence[Exit]:
        """What ended while nobody listened, newest start of each container."""
        ...

    async def start(self, plan: ContainerPlan) -> Started: ...

    async def signal(self, container: str, signal: int) -> None: ...

    async def exec(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout_seconds: float
    ) -> ExecResult: ...

    async def stream(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: bool, tty: bool
    ) -> streams.Session:
        """A command that somebody talks to. Raises StartFailed."""
        ...

    async def attach(self, container: str) -> streams.Session:
        """The container's own streams. Raises StartFailed."""
        ...

    async def dial(self, port: int) -> socket.socket:
        """A TCP connection to that port as from inside the pod. Raises ConnectionError."""
        ...

    async def probe(self, spec: ExecProbe, on_result: Callable[[bool, str], None]) -> None: ...

    async def probe_stop(self, probe_id: str) -> None: ...

    async def stop(self, *, keep_files: bool = False) -> None:
        """Kills what is left and removes the sandbox, its logs too unless told otherwise. Safe to call twice."""

    async def release(self) -> None:
        """Lets go of it without ending it (we exit, the pod stays)."""


class SandboxLost(Exception):
    """The sandbox's own process is gone or does not answer."""


class Runtime(Protocol):
    """Makes and finds sandboxes."""

    name: Literal["process", "container"]
    can_mount: bool  # whether containers see mounts of their own
    own_limits: bool  # whether it holds containers to their limits itself, without our cgroups

    async def open(self, spec: SandboxSpec, listener: Listener) -> Sandbox:
        """The pod's sandbox: the one that runs, else a new one. Raises StartFailed."""

    async def found(self) -> Sequence[str]:
        """The pod uids whose sandboxes exist, ours from an earlier life included."""

    async def end(self, uid: str) -> None:
        """Ends a sandbox whose pod is gone."""

    async def close(self) -> None: ...


LogLines = AsyncIterator[bytes]
