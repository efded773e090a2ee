"""The container runtime: pods' containers are Podman's or Docker's, in a network that something of ours holds for the
pod: our own shim for Podman, a container that does nothing for Docker (`docker_pause`).

Promises: the same as the process runtime (adoption, logs, exits, exec), by the same check suite; images by name, pulled
by the pull policy, locally built ones without a registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from fairlead.base import clock, log
from fairlead.node import engine_http, exec_probing, new_files, podman, runtime, streams

_log = log.get(__name__)
Object = dict[str, Any]


class Held(Protocol):
    """What holds the network of one pod."""

    @property
    def netns_pid(self) -> int: ...

    @property
    def adopted(self) -> bool: ...

    async def dial(self, port: int) -> socket.socket: ...

    async def stop(self, *, keep_files: bool = False) -> None: ...

    async def release(self) -> None: ...


class Holder(Protocol):
    """Makes and finds what holds networks (`runtime.Runtime` without containers)."""

    async def open(self, spec: runtime.SandboxSpec, listener: runtime.Listener) -> Held: ...

    async def found(self) -> Sequence[str]: ...

    async def end(self, uid: str) -> None: ...

    async def close(self) -> None: ...


def by_path(held: Held) -> str:
    """The path of the network namespace that is held."""
    return f"/proc/{held.netns_pid}/ns/net"


class ContainerRuntime:
    """Runs pods with an engine. `inner` makes the sandbox that holds the network, `network` is how it is joined."""

    name: Literal["process", "container"] = "container"
    can_mount = True

    def __init__(
        self, engine: podman.Podman, inner: Holder, *, timer: clock.Clock, network: Callable[[Any], str] = by_path
    ) -> None:
        self._engine = engine
        self.own_limits = engine.options.cgroups
        self._inner = inner
        self._timer = timer
        self._network = network

    async def open(self, spec: runtime.SandboxSpec, listener: runtime.Listener) -> ContainerSandbox:
        sandbox = ContainerSandbox(self._engine, spec, listener, timer=self._timer, network=self._network)
        sandbox.inner = await self._inner.open(spec, sandbox)
        try:
            await sandbox.observe()
        except (engine_http.EngineError, OSError, TimeoutError) as error:
            await sandbox.inner.release()
            raise runtime.StartFailed(
                "FailedCreatePodSandBox", f"{self._engine.kind} at {self._engine.path}: {error}"
            ) from error
        return sandbox

    async def found(self) -> Sequence[str]:
        return await self._inner.found()

    async def end(self, uid: str) -> None:
        with contextlib.suppress(engine_http.EngineError, OSError, TimeoutError):
            for entry in await self._engine.of_pod(uid):
                await self._engine.remove(entry["Id"])
        await self._inner.end(uid)

    async def close(self) -> None:
        await self._inner.close()


class ContainerSandbox:
    """One pod's containers and the sandbox that holds their network."""

    inner: Held

    def __init__(
        self,
        engine: podman.Podman,
        spec: runtime.SandboxSpec,
        listener: runtime.Listener,
        *,
        timer: clock.Clock,
        network: Callable[[Any], str] = by_path,
    ) -> None:
        self._engine = engine
        self._network = network
        self._spec = spec
        self._listener = listener
        self._timer = timer
        self._ids: dict[str, str] = {}
        self._pids: dict[str, int] = {}
        self._running: dict[str, runtime.Running] = {}
        self._ended: list[runtime.Exit] = []
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._over = False

    @property
    def netns_pid(self) -> int:
        return self.inner.netns_pid

    @property
    def adopted(self) -> bool:
        return self.inner.adopted

    @property
    def connected(self) -> bool:
        return False

    def running(self) -> Mapping[str, runtime.Running]:
        return self._running

    def ended(self) -> Sequence[runtime.Exit]:
        return self._ended

    def exited(self, exit: runtime.Exit) -> None:
        """The inner sandbox has no containers."""

    def lost(self, message: str) -> None:
        """The network namespace's holder has died: the containers go with it."""
        task = asyncio.get_running_loop().create_task(self._remove_all(), name="node/podman/lost")
        task.add_done_callback(lambda _: self._listener.lost(message))

    async def observe(self) -> None:
        """Finds what runs already; without an adopted network nothing of an earlier life may go on."""
        found = sorted(await self._engine.of_pod(self._spec.uid), key=lambda entry: str(entry.get("Created")))
        if not self.inner.adopted:
            for entry in found:
                await self._engine.remove(entry["Id"])
            return
        for entry in found:
            name, identity = entry["Labels"][podman.CONTAINER_LABEL], entry["Id"]
            state = (await self._engine.inspect(identity))["State"]
            self._ids[name] = identity
            if state.get("Running"):
                self._running[name] = runtime.Running(state["Pid"], _seconds(state.get("StartedAt")))
                self._watch(name, identity, state["Pid"])
            else:
                self._running.pop(name, None)
                self._ended.append(_exit(name, state, 0))

    async def start(self, plan: runtime.ContainerPlan) -> runtime.Started:
        await asyncio.to_thread(_prepare, plan)
        try:
            await self._engine.ensure_image(plan.image, plan.pull_policy, plan.pull_secrets)
            before = self._ids.pop(plan.name, None)
            if before is not None:
                await self._engine.remove(before)
            network = self._network(self.inner) if self._spec.own_network else ""
            identity = await self._engine.create(self._spec.uid, plan, hostname=self._spec.hostname, network=network)
        except (engine_http.EngineError, OSError, TimeoutError) as error:
            raise runtime.StartFailed(
                "CreateContainerError", str(error) or f"{self._engine.kind} does not answer"
            ) from error
        try:
            found = await self._engine.start(identity)
        except engine_http.EngineError as error:
            await self._engine.remove(identity)
            raise runtime.StartFailed("StartError", str(error)) from error
        except (OSError, TimeoutError) as error:
            raise runtime.StartFailed(
                "CreateContainerError", str(error) or f"{self._engine.kind} does not answer"
            ) from error
        state = found["State"]
        pid = int(state.get("Pid") or 0) or -1
        self._ids[plan.name] = identity
        self._watch(plan.name, identity, pid)
        return runtime.Started(identity, pid, _seconds(state.get("StartedAt")), str(found.get("Image", "")))

    def _watch(self, name: str, identity: str, pid: int) -> None:
        self._pids[name] = pid
        loop = asyncio.get_running_loop()
        self._waiting[name] = loop.create_task(self._wait(name, identity, pid), name=f"node/podman/{name}")

    async def _wait(self, name: str, identity: str, pid: int) -> None:
        while True:
            try:
                await self._engine.wait(identity)
                state = (await self._engine.inspect(identity))["State"]
            except engine_http.EngineError as error:
                if error.status == 404:
                    self._listener.exited(runtime.Exit(name, pid, 137, self._timer.now()))
                    return
                _log.warning("waiting for a container failed", container=name, why=str(error))
            except (OSError, TimeoutError) as error:
                _log.warning("waiting for a container failed", container=name, why=str(error))
            else:
                if not state.get("Running"):
                    self._running.pop(name, None)
                    self._listener.exited(_exit(name, state, pid))
                    return
            await self._timer.sleep(1.0)

    async def signal(self, container: str, signal: int) -> None:
        with contextlib.suppress(engine_http.EngineError, OSError, TimeoutError):
            await self._engine.kill(self._ids[container], int(signal))

    async def exec(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout_seconds: float
    ) -> runtime.ExecResult:
        try:
            return await self._engine.exec(
                self._ids[container], argv, env=env, cwd=cwd, timeout_seconds=timeout_seconds
            )
        except (engine_http.EngineError, KeyError, OSError, TimeoutError) as error:
            return runtime.ExecResult(127, b"", f"{error}\n".encode())

    async def stream(
        self, container: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: bool, tty: bool
    ) -> streams.Session:
        try:
            return await self._engine.stream(self._ids[container], argv, env=env, cwd=cwd, stdin=stdin, tty=tty)
        except (engine_http.EngineError, KeyError, OSError, TimeoutError) as error:
            raise runtime.StartFailed("StartError", str(error)) from error

    async def attach(self, container: str) -> streams.Session:
        try:
            return await self._engine.attach(self._ids[container])
        except (engine_http.EngineError, KeyError, OSError, TimeoutError) as error:
            raise runtime.StartFailed("StartError", str(error)) from error

    async def dial(self, port: int) -> socket.socket:
        return await self.inner.dial(port)

    async def probe(self, spec: runtime.ExecProbe, on_result: Callable[[bool, str], None]) -> None:
        await self.probe_stop(spec.id)
        self._probes[spec.id] = asyncio.get_running_loop().create_task(
            exec_probing.run(spec, self.exec, on_result, timer=self._timer), name=f"node/probe/{spec.id}"
        )

    async def probe_stop(self, probe_id: str) -> None:
        task = self._probes.pop(probe_id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop(self, *, keep_files: bool = False) -> None:
        await self._let_go()
        await self._remove_all()
        await self.inner.stop(keep_files=keep_files)

    async def _remove_all(self) -> None:
        try:
            for entry in await self._engine.of_pod(self._spec.uid):
                await self._engine.remove(entry["Id"])
        except (engine_http.EngineError, OSError, TimeoutError) as error:
            _log.warning("containers were not removed", pod=self._spec.name, why=str(error))

    async def _let_go(self) -> None:
        tasks = [*self._waiting.values(), *self._probes.values()]
        self._waiting, self._probes = {}, {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def release(self) -> None:
        await self._let_go()
        await self.inner.release()


def _prepare(plan: runtime.ContainerPlan) -> None:
    Path(plan.log).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new_files.write(plan.files)


def _exit(name: str, state: Object, pid: int) -> runtime.Exit:
    return runtime.Exit(
        name,
        pid,
        int(state.get("ExitCode") or 0),
        # Podman's two stamps come from different clocks: a short life may seem to end before it began.
        max(_seconds(state.get("FinishedAt")), _seconds(state.get("StartedAt"))),
        started_at=_seconds(state.get("StartedAt")),
        oom=bool(state.get("OOMKilled")),
    )


def _seconds(text: object) -> float:
    head, _, rest = str(text or "").partition(".")
    zone = rest.lstrip("0123456789")
    try:
        return clock.parse_rfc3339(head + (f".{rest[: len(rest) - len(zone)][:6]}{zone}" if rest else ""))
    except ValueError:
        return 0.0
