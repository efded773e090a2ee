"""Podman's API (libpod) as verbs: images and containers, in the words of `runtime.ContainerPlan`.

Containers write their logs in the CRI format (`k8s-file`) and join a network namespace by its path, so that logs,
rotation by size, both network modes and adoption are the same as for processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.base import secret
from fairlead.node import cgroups, engine_http, engine_session, pull_secrets, runtime

Object = dict[str, Any]
LABEL = "dev.fairlead.pod-uid"
CONTAINER_LABEL = "dev.fairlead.container"
# Docker tells the pid of an exec a moment after its first output; how long that is waited for.
_PID_SECONDS = 5.0
_ASK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`rlimits` are given to every container (an engine in a sandbox may need lower ones than its own default);
    `cgroups` is whether the engine can hold a container to its limits."""

    rlimits: Mapping[str, tuple[int, int]]
    log_limit_bytes: int = 10 * 1024 * 1024
    pull_seconds: float = 600.0
    cgroups: bool = True


def sockets(environ: Mapping[str, str]) -> list[str]:
    """Where Podman's socket may be, the user's own choice first."""
    return engine_http.sockets(
        environ.get("CONTAINER_HOST", ""),
        runtime=environ.get("XDG_RUNTIME_DIR", ""),
        own="podman/podman.sock",
        system="/run/podman/podman.sock" if os.geteuid() == 0 else "",
    )


class Podman:
    """One Podman service."""

    api = "/v4.0.0/libpod"
    kind = "Podman"

    def __init__(self, path: str, options: EngineSettings) -> None:
        self.http = engine_http.EngineHttp(path)
        self.options = options
        self.path = path

    async def version(self) -> str:
        """Raises OSError or EngineError when there is no usable Podman."""
        answer = await self.http.call("GET", f"{self.api}/version", timeout_seconds=5.0)
        return str(answer.get("Version", ""))

    async def ensure_image(self, image: str, policy: str, secrets: Sequence[secret.Secret] = ()) -> None:
        """Pulls by the policy, with each secret until one is taken. Raises StartFailed in the kubelet's words."""
        present = policy != "Always" and await self.has_image(image)
        if present:
            return
        if policy == "Never":
            why = f'Container image "{image}" is not present with pull policy of Never'
            raise runtime.StartFailed("ErrImageNeverPull", why)
        why = ""
        for headers in [{pull_secrets.HEADER: one.reveal()} for one in secrets] or [{}]:
            try:
                why = await self._pull(image, headers)
            except (engine_http.EngineError, TimeoutError) as error:
                why = str(error) or "no answer in time"
            if not why:
                return
        if policy == "Always" and await self.has_image(image):
            return  # a local build with the tag latest, and no registry to ask
        raise runtime.StartFailed("ErrImagePull", f'Failed to pull image "{image}": {why}')

    async def _pull(self, image: str, headers: Mapping[str, str]) -> str:
        """Pulls; returns why it could not, or ""."""
        answer = await self.http.call(
            "POST",
            f"{self.api}/images/pull",
            query={"reference": image, "policy": "always", "quiet": "true"},
            headers=headers,
            timeout_seconds=self.options.pull_seconds,
        )
        return str(answer.get("error") or "") if isinstance(answer, dict) else _error_line(str(answer or ""))

    async def has_image(self, image: str) -> bool:
        try:
            await self.http.call("GET", f"{self.api}/images/{_quoted(image)}/exists")
        except engine_http.EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def create(self, uid: str, plan: runtime.ContainerPlan, *, hostname: str, network: str) -> str:
        """Makes the container and returns its id. `network` is a namespace's path; "" is the host's. Raises
        EngineError."""
        answer = await self.http.call(
            "POST", f"{self.api}/containers/create", self._spec(uid, plan, hostname=hostname, netns=network)
        )
        return str(answer["Id"])

    def _spec(self, uid: str, plan: runtime.ContainerPlan, *, hostname: str, netns: str) -> Object:
        spec: Object = {
            "name": f"fairlead-{uid}-{plan.name}-{plan.attempt}",
            "image": plan.image,
            "env": dict(plan.env),
            "labels": {LABEL: uid, CONTAINER_LABEL: plan.name},
            "netns": {"nsmode": "path", "value": netns} if netns else {"nsmode": "host"},
            "log_configuration": {"driver": "k8s-file", "path": plan.log, "size": self.options.log_limit_bytes},
            "mounts": [_mount(entry) for entry in plan.mounts],
            "r_limits": [
                {"type": name.upper(), "soft": soft, "hard": hard}
                for name, (soft, hard) in {**self.options.rlimits, **plan.rlimits}.items()
            ],
            "no_new_privileges": plan.no_new_privs,
            "read_only_filesystem": plan.read_only_root,
            **({"resource_limits": _limits(plan)} if self.options.cgroups else {}),
            "use_image_hosts": True,
            "stdin": plan.stdin,
            "terminal": plan.tty,
        }
        if netns:
            spec["hostname"] = hostname
        if plan.argv:
            spec["entrypoint"] = list(plan.argv)
            spec["command"] = []
        elif plan.args:
            spec["command"] = list(plan.args)
        if plan.cwd:
            spec["work_dir"] = plan.cwd
        if plan.credentials.uid is not None:
            who = plan.credentials
            spec["user"] = f"{who.uid}:{who.gid if who.gid is not None else who.uid}"
            spec["groups"] = [str(group) for group in who.groups]
        if plan.capabilities is not None:
            spec["cap_drop"] = ["ALL"]
            spec["cap_add"] = [f"CAP_{name}" for name in plan.capabilities]
        return spec

    async def start(self, container: str) -> Object:
        """Starts it and returns what `inspect` says. Raises EngineError."""
        await self.http.call("POST", f"{self.api}/containers/{container}/start")
        return await self.inspect(container)

    async def inspect(self, container: str) -> Object:
        found: Object = await self.http.call("GET", f"{self.api}/containers/{container}/json")
        return found

    async def wait(self, container: str) -> None:
        """Returns when it has ended, however long that takes."""
        query = {"condition": "exited", "interval": "50ms"}
        await self.http.call("POST", f"{self.api}/containers/{container}/wait", query=query, timeout_seconds=None)

    async def kill(self, container: str, number: int) -> None:
        try:
            await self.http.call("POST", f"{self.api}/containers/{container}/kill", query={"signal": str(number)})
        except engine_http.EngineError as error:
            if error.status not in (404, 409):
                raise

    async def remove(self, container: str) -> None:
        try:
            query = {"force": "true", "v": "true", "timeout": "0"}
            await self.http.call("DELETE", f"{self.api}/containers/{container}", query=query)
        except engine_http.EngineError as error:
            if error.status != 404:
                raise

    async def of_pod(self, uid: str, *, holder: bool = False) -> list[Object]:
        """What `list` says of the pod's containers (or of what holds its network), ended ones included."""
        filters = f'{{"label":["{LABEL}={uid}"]}}'
        found = await self.http.call("GET", f"{self.api}/containers/json", query={"all": "true", "filters": filters})
        return [one for one in found or [] if (CONTAINER_LABEL not in (one.get("Labels") or {})) == holder]

    async def exec(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout_seconds: float
    ) -> runtime.ExecResult:
        """Runs a command in the container. Raises EngineError when it cannot be run."""
        body = {
            "Cmd": list(argv),
            "Env": [f"{name}={value}" for name, value in env.items()],
            "AttachStdout": True,
            "AttachStderr": True,
            **({"WorkingDir": cwd} if cwd else {}),
        }
        made = await self.http.call("POST", f"{self.api}/containers/{container}/exec", body)
        output: dict[int, list[bytes]] = {1: [], 2: []}
        timed_out = False
        reader, writer = await self.http.upgrade(f"{self.api}/exec/{made['Id']}/start", {"Detach": False, "Tty": False})
        try:
            async with asyncio.timeout(timeout_seconds or None):
                await _demultiplex(reader, output)
        except TimeoutError:
            timed_out = True
        finally:
            writer.close()
        if timed_out:
            await self._end_exec(str(made["Id"]))
            code = 137
        else:
            state = await self.http.call("GET", f"{self.api}/exec/{made['Id']}/json")
            code = int(state.get("ExitCode") or 0)
        await asyncio.to_thread(_end_monitors, str(made["Id"]))
        return runtime.ExecResult(code, b"".join(output[1]), b"".join(output[2]), timed_out)

    async def stream(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: bool, tty: bool
    ) -> engine_session.EngineSession:
        """A command that somebody talks to. Raises EngineError."""
        body = {
            "Cmd": list(argv),
            "Env": [f"{name}={value}" for name, value in env.items()],
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": not tty,
            "Tty": tty,
            **({"WorkingDir": cwd} if cwd else {}),
        }
        made = await self.http.call("POST", f"{self.api}/containers/{container}/exec", body)
        path = f"{self.api}/exec/{made['Id']}"
        reader, writer = await self.http.upgrade(f"{path}/start", {"Detach": False, "Tty": tty})

        async def code() -> int:
            state = await self.http.call("GET", f"{path}/json")
            await asyncio.to_thread(_end_monitors, str(made["Id"]))
            return int(state.get("ExitCode") or 0)

        async def end() -> None:
            await self._end_exec(str(made["Id"]))
            await asyncio.to_thread(_end_monitors, str(made["Id"]))

        return engine_session.EngineSession(reader, writer, self._resizer(path), code, end, tty=tty)

    async def attach(self, container: str) -> engine_session.EngineSession:
        """The container's own streams, from now on. Raises EngineError."""
        found = await self.inspect(container)
        tty = bool((found.get("Config") or {}).get("Tty"))
        path = f"{self.api}/containers/{container}"
        query = {"stream": "true", "stdin": "true", "stdout": "true", "stderr": "true", "logs": "false"}
        reader, writer = await self.http.upgrade(f"{path}/attach", None, query=query)

        async def code() -> int:
            return int((await self.inspect(container))["State"].get("ExitCode") or 0)

        async def end() -> None:
            """The container goes on."""

        return engine_session.EngineSession(reader, writer, self._resizer(path), code, end, tty=tty)

    def _resizer(self, path: str) -> engine_session.Resize:
        async def resize(width: int, height: int) -> None:
            with contextlib.suppress(engine_http.EngineError, OSError, TimeoutError):
                await self.http.call("POST", f"{path}/resize", query={"w": str(width), "h": str(height)})

        return resize

    async def _end_exec(self, exec_id: str) -> None:
        """Kills the command of an exec if it runs. Docker passes its first output on before it tells its pid."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PID_SECONDS):
                while (state := await self.http.call("GET", f"{self.api}/exec/{exec_id}/json")).get("Running"):
                    if (pid := int(state.get("Pid") or 0)) > 1:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                        return
                    await asyncio.sleep(_ASK_SECONDS)


def _end_monitors(exec_id: str) -> None:
    """Podman's API keeps the two monitors of a finished command for five minutes; with probes these add up."""
    while found := _monitors(exec_id):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _monitors(exec_id: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                is_monitor = (entry / "comm").read_bytes() == b"conmon\n"
                if is_monitor and exec_id.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


async def _demultiplex(reader: asyncio.StreamReader, output: dict[int, list[bytes]]) -> None:
    """Frames of 8 bytes (stream, length) and content."""
    while True:
        try:
            stream, length = struct.unpack(">BxxxI", await reader.readexactly(8))
            output.setdefault(stream, []).append(await reader.readexactly(length))
        except asyncio.IncompleteReadError:
            return


def _error_line(text: str) -> str:
    return next((line for line in text.splitlines() if '"error"' in line), "")


def _quoted(image: str) -> str:
    return urllib.parse.quote(image, safe="/:@")


def _mount(entry: runtime.Mount) -> Object:
    options = ["rbind", "ro" if entry.read_only else "rw"]
    return {"type": "bind", "source": entry.source, "destination": entry.target, "options": options}


def _limits(plan: runtime.ContainerPlan) -> Object:
    limits: Object = {"pids": {"limit": cgroups.MOST_PROCESSES}}
    if plan.memory_bytes:
        limits["memory"] = {"limit": plan.memory_bytes, "swap": plan.memory_bytes}
    if plan.cpu_cores:
        limits["cpu"] = {"quota": int(plan.cpu_cores * 100_000), "period": 100_000}
    return limits
