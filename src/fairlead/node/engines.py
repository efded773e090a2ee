"""Which container engine is here, if any: Podman's socket where the environment or the system has it.

`--runtime` may be a socket's path, `podman`, or `none`. What is found is asked for its version, within seconds; an
engine that does not answer is as good as none, and the reason is told. Docker is refused (see `containers`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.base import clock
from fairlead.node import containers, engine_http, podman, runtime


@dataclass(frozen=True, slots=True)
class Found:
    """A runtime for images, or None, and the sentence for `fairlead status`."""

    runtime: runtime.Runtime | None
    reason: str


def _is_docker_here() -> bool:
    return Path("/var/run/docker.sock").is_socket()


def clean(environ: Mapping[str, str], uids: Sequence[str]) -> int:
    """Removes the containers of these pods, whose cluster died; returns how many there were. Blocking."""
    return asyncio.run(_clean(environ, uids)) if uids and podman.sockets(environ) else 0


async def _clean(environ: Mapping[str, str], uids: Sequence[str]) -> int:
    removed = 0
    for path in podman.sockets(environ):
        engine = podman.Podman(path, podman.EngineSettings({}))
        with contextlib.suppress(engine_http.EngineError, OSError, TimeoutError):
            for uid in uids:
                for entry in await engine.of_pod(uid):
                    await engine.remove(entry["Id"])
                    removed += 1
    return removed


async def find(
    environ: Mapping[str, str],
    inner: runtime.Runtime,
    *,
    timer: clock.Clock,
    forced: str = "",
    options: podman.EngineSettings | None = None,
) -> Found:
    """The engine to use. Never raises; costs one request when there is a socket, nothing else."""
    if forced == "none":
        return Found(None, "container engines are switched off by --runtime none")
    if forced == "docker":
        return Found(None, "Docker is not offered: it joins no network namespace by its path; use Podman")
    paths = [forced] if "/" in forced else podman.sockets(environ)
    refused = []
    for path in paths:
        engine = podman.Podman(path, options or podman.EngineSettings({}))
        try:
            version = await engine.version()
        except (engine_http.EngineError, OSError, TimeoutError) as error:
            refused.append(f"{path}: {error or 'no answer'}")
            continue
        return Found(containers.ContainerRuntime(engine, inner, timer=timer), f"Podman {version} at {path}")
    if refused:
        return Found(None, f"no container engine answers ({'; '.join(refused)})")
    if _is_docker_here():
        return Found(None, "only Docker is here, which is not offered yet; `podman system service` would be used")
    return Found(None, "no container engine is here (Podman's socket would be used)")
