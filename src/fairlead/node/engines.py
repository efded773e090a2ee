"""Which container engine is here, if any: Podman's or Docker's socket where the environment or the system has it.

`--runtime` is `auto`, `process` (no engine), `podman`, `docker`, or a socket's path. What is found is asked who it is,
within seconds; an engine that does not answer is as good as none, and the reason is told. A socket that speaks both
APIs (Podman's) is used by its own, unless `docker` is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.base import clock
from fairlead.node import containers, docker, docker_pause, engine_http, podman, runtime

_MISSING = (engine_http.EngineError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Found:
    """A runtime for images, or None, and the sentence for `fairlead status`."""

    runtime: runtime.Runtime | None
    reason: str


def docker_sockets(environ: Mapping[str, str]) -> list[str]:
    """Where Docker's socket may be, the user's own choice first."""
    return engine_http.sockets(
        environ.get("DOCKER_HOST", ""),
        runtime=environ.get("XDG_RUNTIME_DIR", ""),
        own="docker.sock",
        system="/var/run/docker.sock",
    )


def clean(environ: Mapping[str, str], uids: Sequence[str]) -> int:
    """Removes the containers of these pods, whose cluster died; returns how many there were. Blocking."""
    known = podman.sockets(environ) + docker_sockets(environ)
    return asyncio.run(_clean(environ, uids)) if uids and known else 0


async def _clean(environ: Mapping[str, str], uids: Sequence[str]) -> int:
    removed = 0
    options = podman.EngineSettings({})
    known: list[podman.Podman] = [podman.Podman(path, options) for path in podman.sockets(environ)]
    known += [docker.Docker(path, options) for path in docker_sockets(environ)]
    for engine in known:
        with contextlib.suppress(*_MISSING):
            for uid in uids:
                for holder in (False, True):
                    for entry in await engine.of_pod(uid, holder=holder):
                        await engine.remove(entry["Id"])
                        removed += 1
    return removed


async def find(
    environ: Mapping[str, str],
    inner: runtime.Runtime,
    *,
    timer: clock.Clock,
    folder: Path,
    forced: str = "auto",
    options: podman.EngineSettings | None = None,
) -> Found:
    """The engine to use; `folder` is that of the pods. Never raises; costs one request when there is a socket."""
    if forced in ("process", "none"):
        return Found(None, f"container engines are switched off by --runtime {forced}")
    settings = options or podman.EngineSettings({})
    refused: list[str] = []
    for engine in _candidates(environ, forced, settings):
        try:
            version = await engine.version()
        except _MISSING as error:
            refused.append(f"{engine.kind} at {engine.path}: {error or 'no answer'}")
            continue
        return Found(_runtime(engine, inner, folder, timer), f"{engine.kind} {version} at {engine.path}")
    if refused:
        return Found(None, f"no container engine answers ({'; '.join(refused)})")
    wanted = {"podman": "Podman's socket is not here", "docker": "Docker's socket is not here"}
    return Found(None, wanted.get(forced, "no container engine is here (Podman's or Docker's socket would be used)"))


def _candidates(environ: Mapping[str, str], forced: str, options: podman.EngineSettings) -> list[podman.Podman]:
    if "/" in forced:
        return [podman.Podman(forced, options), docker.Docker(forced, options)]
    podmans: list[podman.Podman] = [podman.Podman(path, options) for path in podman.sockets(environ)]
    dockers: list[podman.Podman] = [docker.Docker(path, options) for path in docker_sockets(environ)]
    return {"podman": podmans, "docker": dockers}.get(forced, podmans + dockers)


def _runtime(
    engine: podman.Podman, inner: runtime.Runtime, folder: Path, timer: clock.Clock
) -> containers.ContainerRuntime:
    if isinstance(engine, docker.Docker):
        return containers.ContainerRuntime(
            engine, docker_pause.PauseRuntime(engine, folder), timer=timer, network=docker_pause.network
        )
    return containers.ContainerRuntime(engine, inner, timer=timer)
