"""What holds a pod's network under Docker: one container that does nothing, whose network the others join.

Promises: nothing is downloaded (its image is one static program of some 130 bytes, imported once); it outlives us and
is adopted; when it ends the pod is lost. A connection from inside the pod is made by a thread that visits its network.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import io
import os
import platform
import socket
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairlead.base import log
from fairlead.node import docker, engine_http, folders, new_files, podman, runtime

_log = log.get(__name__)
Object = dict[str, Any]
IMAGE = "localhost/fairlead-pause-1:latest"  # Podman gives an import no other tag
_CLONE_NEWNET = 0x40000000
_DIAL_SECONDS = 10.0
_CODE = {  # for (;;) pause();
    "x86_64": (62, bytes.fromhex("b8220000000f05ebf7")),
    "aarch64": (183, bytes.fromhex("000080d2010080d2020080d2030080d2280980d2010000d4faffff17")),  # ppoll
}


def program(machine: str = "") -> bytes:
    """A static ELF program that waits for ever. Raises StartFailed on other machines."""
    found = _CODE.get(machine or platform.machine())
    if found is None:
        raise runtime.StartFailed(
            "FailedCreatePodSandBox", f"Docker is not offered on {platform.machine()}; use Podman"
        )
    number, code = found
    base, size = 0x400000, 120 + len(code)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, number, 1, base + 120, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def network(held: Any) -> str:
    """How Docker is told to join the network of a holder."""
    return f"container:{held.identity}"


def _archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo("pause")
        content = program()
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


class PauseRuntime:
    """Makes and finds the holders, one container a pod."""

    def __init__(self, engine: docker.Docker, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._imported = asyncio.Lock()

    async def open(self, spec: runtime.SandboxSpec, listener: runtime.Listener) -> PauseSandbox:
        folder = self._folder / spec.uid
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new_files.write(runtime.NewFile(f"{folder}/{name}", text, 0o600) for name, text in spec.files.items())
        try:
            found = await self._running(spec.uid)
            adopted = found is not None
            identity = found or await self._make(spec)
            state = (await self._engine.inspect(identity))["State"]
        except (engine_http.EngineError, OSError, TimeoutError) as error:
            raise runtime.StartFailed("FailedCreatePodSandBox", str(error) or "Docker does not answer") from error
        folder = self._folder / spec.uid
        return PauseSandbox(self._engine, folder, identity, int(state["Pid"]), listener, adopted=adopted)

    async def _running(self, uid: str) -> str | None:
        for entry in await self._engine.of_pod(uid, holder=True):
            if entry.get("State") == "running":
                return str(entry["Id"])
            await self._engine.remove(entry["Id"])
        return None

    async def _make(self, spec: runtime.SandboxSpec) -> str:
        async with self._imported:
            if not await self._engine.has_image(IMAGE):
                name, tag = docker.split(IMAGE)
                query = {"fromSrc": "-", "repo": name, "tag": tag, "changes": 'ENTRYPOINT ["/pause"]'}
                await self._engine.http.call("POST", f"{docker.API}/images/create", _archive(), query=query)
        body: Object = {
            "Image": IMAGE,
            "Entrypoint": ["/pause"],
            "Labels": {podman.LABEL: spec.uid, docker.PAUSE_LABEL: "true"},
            "HostConfig": {
                "NetworkMode": "none" if spec.own_network else "host",
                "Sysctls": dict(spec.sysctls),
                "Ulimits": [
                    {"Name": name, "Soft": soft, "Hard": hard}
                    for name, (soft, hard) in self._engine.options.rlimits.items()
                ],
            },
        }
        if spec.own_network:
            body["Hostname"] = spec.hostname
        query = {"name": f"fairlead-{spec.uid}"}
        made = await self._engine.http.call("POST", f"{docker.API}/containers/create", body, query=query)
        await self._engine.start(made["Id"])
        return str(made["Id"])

    async def found(self) -> Sequence[str]:
        try:
            return folders.names(self._folder)
        except FileNotFoundError:
            return []

    async def end(self, uid: str) -> None:
        with contextlib.suppress(engine_http.EngineError, OSError, TimeoutError):
            for entry in await self._engine.of_pod(uid, holder=True):
                await self._engine.remove(entry["Id"])
        await asyncio.to_thread(folders.remove, self._folder / uid)

    async def close(self) -> None:
        """Nothing of ours runs."""


class PauseSandbox:
    """One pod's holder. It has no containers of its own: whoever made it knows them."""

    def __init__(
        self,
        engine: docker.Docker,
        folder: Path,
        identity: str,
        pid: int,
        listener: runtime.Listener,
        *,
        adopted: bool,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self.identity = identity
        self.netns_pid = pid
        self.adopted = adopted
        self._listener = listener
        self._watch = asyncio.get_running_loop().create_task(self._wait(), name="node/docker/holder")

    async def _wait(self) -> None:
        while True:
            try:
                await self._engine.http.call(
                    "POST",
                    f"{docker.API}/containers/{self.identity}/wait",
                    query={"condition": "not-running"},
                    timeout_seconds=None,
                )
                if not (await self._engine.inspect(self.identity))["State"].get("Running"):
                    break
            except engine_http.EngineError as error:
                if error.status == 404:
                    break
                _log.warning("waiting for a pod's holder failed", why=str(error))
            except (OSError, TimeoutError) as error:
                _log.warning("waiting for a pod's holder failed", why=str(error))
            await asyncio.sleep(1.0)
        self._listener.lost("the container that holds the pod's network has ended")

    async def dial(self, port: int) -> socket.socket:
        try:
            return await asyncio.to_thread(_dial, self.netns_pid, port)
        except OSError as error:
            raise ConnectionError(str(error)) from error

    async def stop(self, *, keep_files: bool = False) -> None:
        await self.release()
        with contextlib.suppress(engine_http.EngineError, OSError, TimeoutError):
            await self._engine.remove(self.identity)
        if not keep_files:
            await asyncio.to_thread(folders.remove, self._folder)

    async def release(self) -> None:
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)


def _dial(pid: int, port: int) -> socket.socket:
    """A connection to 127.0.0.1 of that process' network. The thread goes there and comes back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            _visit(there)
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=_DIAL_SECONDS)
            finally:
                _visit(home)
        finally:
            os.close(there)
    finally:
        os.close(home)


def _visit(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
