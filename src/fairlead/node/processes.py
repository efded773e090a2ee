"""The process runtime: each pod is a `fairlead-engine shim` with real processes under it.

Promises: pods outlive us; `open` adopts a shim that runs, same processes and logs; a start that cannot be is
StartFailed with the reason. Refuses: images (argv must be known), and mounts where no mount namespace may be made.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal as signals
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairlead.base import log
from fairlead.node import folders, runtime, shim, spawner, status, streams

_log = log.get(__name__)

_EXEC_FAILED = 127


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Where pods live, what starts a shim, and what of the machine a pod may not see or may have of its own."""

    folder: Path
    engine: tuple[str, ...]
    namespaces: tuple[str, ...] = ()  # besides net, which the network decides
    hide: tuple[str, ...] = ()
    log_limit_bytes: int = 10 * 1024 * 1024
    log_files: int = 5
    start_seconds: float = 10.0
    max_output_bytes: int = 1024 * 1024


class ProcessRuntime:
    """Runs pods as processes under shims in `settings.folder/UID`."""

    name: Literal["process", "container"] = "process"
    own_limits = False

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self.can_mount = "mnt" in settings.namespaces
        self._spawner = spawner.Spawner(settings.engine, settings.folder)

    async def open(self, spec: runtime.SandboxSpec, listener: runtime.Listener) -> ProcessSandbox:
        folder = self._settings.folder / spec.uid
        if not folder.exists():  # nothing to adopt: a pod that is new
            return await self._make(folder, spec, listener)
        try:
            connection = await shim.connect(folder)
        except OSError:
            return await self._make(folder, spec, listener)
        sandbox = ProcessSandbox(self._settings, folder, connection, listener)
        await sandbox.observe()
        return sandbox

    async def _make(self, folder: Path, spec: runtime.SandboxSpec, listener: runtime.Listener) -> ProcessSandbox:
        namespaces = (("net",) if spec.own_network else ()) + self._settings.namespaces
        config = {
            "pod": f"{spec.namespace}/{spec.name}",
            "hostname": spec.hostname,
            "namespaces": namespaces,
            "hide": self._settings.hide,
            "loopback_up": spec.own_network,
            "sysctls": spec.sysctls,
        }
        made = await self._spawner.start(
            spec.uid, config, files=spec.files, timeout_seconds=self._settings.start_seconds, wiring=spec.wiring
        )
        try:
            connection = await shim.connect(folder)
        except OSError as error:
            raise runtime.StartFailed("FailedCreatePodSandBox", str(error)) from error
        return ProcessSandbox(self._settings, folder, connection, listener, made=made)

    async def found(self) -> Sequence[str]:
        try:
            return folders.names(self._settings.folder)
        except FileNotFoundError:
            return []

    async def end(self, uid: str) -> None:
        folder = self._settings.folder / uid
        with contextlib.suppress(OSError):
            connection = await shim.connect(folder)
            try:
                await connection.request("stop")
            except (shim.ShimGone, shim.ShimRefused):
                pass
            finally:
                await connection.close()
        await asyncio.to_thread(folders.remove, folder)

    async def close(self) -> None:
        await self._spawner.close()


class ProcessSandbox:
    """One pod's shim, connected."""

    def __init__(
        self,
        settings: ProcessSettings,
        folder: Path,
        connection: shim.ShimConnection,
        listener: runtime.Listener,
        *,
        made: spawner.Made | None = None,
    ) -> None:
        """`made` is a shim that is new; another must be observed."""
        self._settings = settings
        self._can_mount = "mnt" in settings.namespaces
        self._folder = folder
        self._connection = connection
        self._listener = listener
        self._adopted = made is None
        self._connected = made is not None and made.connected
        self._running: dict[str, runtime.Running] = {}
        self._ended: list[runtime.Exit] = []
        self._gone: set[int] = set()
        self._probes: dict[str, Callable[[bool, str], None]] = {}
        self._netns_pid = self.shim_pid = made.pid if made is not None else 0
        connection.on_event = self._on_event
        connection.on_gone = lambda: listener.lost("the pod's shim has ended")

    @property
    def netns_pid(self) -> int:
        return self._netns_pid

    @property
    def adopted(self) -> bool:
        return self._adopted

    @property
    def connected(self) -> bool:
        return self._connected

    def running(self) -> Mapping[str, runtime.Running]:
        return self._running

    def ended(self) -> Sequence[runtime.Exit]:
        return self._ended

    async def observe(self) -> None:
        """Reads what the shim runs. Raises StartFailed when it does not answer."""
        try:
            state = await self._request("state")
        except runtime.SandboxLost as error:
            raise runtime.StartFailed("FailedCreatePodSandBox", str(error)) from error
        self.shim_pid = state.get("shim_pid", 0)
        self._netns_pid = state.get("netns_pid") or self.shim_pid
        for name, entry in (state.get("containers") or {}).items():
            if entry.get("finished_at"):
                self._ended.append(_exit({"container": name, **entry}))
            elif entry.get("pid") and entry["pid"] not in self._gone:
                self._running[name] = runtime.Running(entry["pid"], entry.get("started_at", 0.0))
        self._gone.clear()

    async def start(self, plan: runtime.ContainerPlan) -> runtime.Started:
        if not plan.argv:
            raise runtime.StartFailed("ErrImageNeverPull", f"nothing says which command {plan.image!r} is")
        try:
            answer = await self._connection.request("start", **self._start_fields(plan))
        except shim.ShimRefused as error:
            raise runtime.StartFailed("StartError", str(error)) from error
        except shim.ShimGone as error:
            raise runtime.SandboxLost(str(error)) from error
        identity = status.container_id(self._folder.name, plan.name, plan.attempt, answer["pid"], answer["at"])
        return runtime.Started(identity, answer["pid"], answer["at"])

    def _start_fields(self, plan: runtime.ContainerPlan) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "container": plan.name,
            "argv": plan.argv,
            "env": plan.env,
            "cwd": plan.cwd,
            "no_new_privs": plan.no_new_privs,
            "log": plan.log,
            "log_limit_bytes": self._settings.log_limit_bytes,
            "log_files": self._settings.log_files,
            "cgroups": plan.cgroups,
            "make_cgroups": plan.make_cgroups,
            "files": [_file(entry) for entry in plan.files if not entry.link],
            "links": [{"path": entry.path, "to": entry.link} for entry in plan.files if entry.link],
            "rlimits": plan.rlimits,
        }
        if plan.credentials.uid is not None:
            who = plan.credentials
            fields |= {"uid": who.uid, "gid": who.gid if who.gid is not None else who.uid, "groups": who.groups}
        if plan.capabilities is not None:
            fields["capabilities"] = plan.capabilities
        if plan.stdin or plan.tty:
            fields |= {"stdin": plan.stdin, "stdin_once": plan.stdin_once, "tty": plan.tty}
        if plan.read_only_root and self._can_mount:
            fields["read_only_root"] = True
        if plan.mounts:
            fields["mounts"] = plan.mounts  # has the words of docs/protocol.md
        return fields

    async def signal(self, container: str, signal: int) -> None:
        with contextlib.suppress(shim.ShimRefused):
            await self._request("signal", container=container, signal=int(signal))

    async def exec(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout_seconds: float
    ) -> runtime.ExecResult:
        try:
            answer = await self._request(
                "exec",
                container=container,
                argv=list(argv),
                env=dict(env),
                cwd=cwd,
                timeout_seconds=timeout_seconds,
                max_output_bytes=self._settings.max_output_bytes,
            )
        except shim.ShimRefused as error:
            return runtime.ExecResult(_EXEC_FAILED, b"", f"{error}\n".encode())
        return runtime.ExecResult(
            answer.get("exit_code", -1),
            base64.b64decode(answer.get("stdout", "")),
            base64.b64decode(answer.get("stderr", "")),
            bool(answer.get("timed_out")),
        )

    async def stream(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: bool, tty: bool
    ) -> streams.Session:
        fields = {"argv": list(argv), "env": dict(env), "cwd": cwd, "stdin": stdin, "tty": tty}
        return await self._stream("exec_stream", container=container, **fields)

    async def attach(self, container: str) -> streams.Session:
        return await self._stream("attach", container=container)

    async def _stream(self, kind: str, **fields: Any) -> streams.Session:
        try:
            return await shim.open_stream(self._folder, kind, **fields)
        except shim.ShimRefused as error:
            raise runtime.StartFailed("StartError", str(error)) from error
        except shim.ShimGone as error:
            raise runtime.SandboxLost(str(error)) from error

    async def dial(self, port: int) -> socket.socket:
        try:
            return await asyncio.to_thread(shim.dial, self._folder, port)
        except (shim.ShimRefused, shim.ShimGone) as error:
            raise ConnectionError(str(error)) from error

    async def probe(self, spec: runtime.ExecProbe, on_result: Callable[[bool, str], None]) -> None:
        self._probes[spec.id] = on_result
        fields = {name: getattr(spec, name) for name in spec.__dataclass_fields__ if name != "id"}
        fields["argv"], fields["env"] = list(spec.argv), dict(spec.env)
        self._connection.tell("exec_probe", spec.id, **fields)

    async def probe_stop(self, probe_id: str) -> None:
        if self._probes.pop(probe_id, None) is not None:
            self._connection.tell("probe_stop", probe_id)

    async def stop(self, *, keep_files: bool = False) -> None:
        self._connection.on_gone = lambda: None
        with contextlib.suppress(shim.ShimRefused, shim.ShimGone):
            await self._connection.request("stop")
        await self._connection.close()
        await self._shim_ended()
        if not keep_files:
            await asyncio.to_thread(folders.remove, self._folder)

    async def _shim_ended(self) -> None:
        """Returns when the shim is gone; one that was told to stop and is still there is killed."""
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(self.shim_pid)
            try:
                if _is_shim(self.shim_pid, self._folder):
                    signals.pidfd_send_signal(descriptor, signals.SIGKILL)
                    await _readable(descriptor, self._settings.start_seconds)
            finally:
                os.close(descriptor)

    async def release(self) -> None:
        await self._connection.close()

    async def _request(self, kind: str, **fields: Any) -> shim.Message:
        try:
            return await self._connection.request(kind, **fields)
        except shim.ShimGone as error:
            raise runtime.SandboxLost(str(error)) from error

    def _on_event(self, message: shim.Message) -> None:
        if message["type"] == "exited":
            # Nobody may adopt what ended between the shim's answer and the adoption.
            self._running.pop(message["container"], None)
            if not self.shim_pid:  # not observed yet
                self._gone.add(message.get("pid", 0))
            self._listener.exited(_exit(message))
            return
        on_result = self._probes.get(str(message.get("id")))
        if on_result is not None and message["type"] in ("probe", "error"):
            on_result(bool(message.get("ok")), message.get("message", ""))


def _is_shim(pid: int, folder: Path) -> bool:
    """A shim lives in its pod's folder; its command line is the spawner's."""
    return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)") == os.path.realpath(folder)  # noqa: PTH115


async def _readable(descriptor: int, seconds: float) -> None:
    """Returns when a process that a pidfd names has ended, at the latest after so long."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        _log.warning("a shim does not end", pidfd=descriptor)
    finally:
        loop.remove_reader(descriptor)


def _exit(message: shim.Message) -> runtime.Exit:
    number = message.get("signal") or 0
    code = message.get("exit_code")
    return runtime.Exit(
        container=message["container"],
        pid=message.get("pid", 0),
        exit_code=code if code is not None and not number else 128 + number,
        finished_at=message.get("finished_at", 0.0),
        started_at=message.get("started_at", 0.0),
        signal=number,
        oom=bool(message.get("oom")),
    )


def _file(entry: runtime.NewFile) -> dict[str, Any]:
    made: dict[str, Any] = {"path": entry.path, "text": entry.text, "mode": entry.mode}
    if entry.owner is not None:
        uid, gid = entry.owner
        made |= {"uid": uid, **({"gid": gid} if gid >= 0 else {})}
    return made
