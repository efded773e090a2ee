"""Docker's API as the same verbs as `podman.Podman`: images and containers, in the words of `runtime.ContainerPlan`.

Docker joins no network namespace by its path, so a pod's network is held by a container (`docker_pause`) whose network
the others join; and it writes no CRI logs, so its log stream is copied into them (`docker_logs`) while `wait` waits.
Podman's Docker-compatible endpoints are the same API; the check suite runs against them.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.node import cgroups, docker_logs, engine_http, podman, runtime

Object = dict[str, Any]
_WRITTEN_FOR = (1, 41)
API = "/v1.41"  # as paths begin here; what is sent is the daemon's (`_Negotiating`)
LOG_LABEL = "dev.fairlead.log"
PAUSE_LABEL = "dev.fairlead.pause"
_LAST_OUTPUT_SECONDS = 2.0
_VERSION_SECONDS = 5.0


class Docker(podman.Podman):
    """One Docker service."""

    api = API
    kind = "Docker"

    def __init__(self, path: str, options: podman.EngineSettings) -> None:
        super().__init__(path, options)
        self.http = _Negotiating(path)

    async def _pull(self, image: str, headers: Mapping[str, str]) -> str:
        name, tag = split(image)
        answer = await self.http.call(
            "POST",
            f"{API}/images/create",
            query={"fromImage": name, "tag": tag},
            headers=headers,
            timeout_seconds=self.options.pull_seconds,
        )
        return _error(answer)

    async def has_image(self, image: str) -> bool:
        try:
            await self.http.call("GET", f"{API}/images/{urllib.parse.quote(image, safe='/:@')}/json")
        except engine_http.EngineError as error:
            if error.status in (404, 400):
                return False
            raise
        return True

    async def create(self, uid: str, plan: runtime.ContainerPlan, *, hostname: str, network: str) -> str:
        answer = await self.http.call(
            "POST",
            f"{API}/containers/create",
            self._container(uid, plan, network or "host"),
            query={"name": f"fairlead-{uid}-{plan.name}-{plan.attempt}"},
        )
        return str(answer["Id"])

    def _container(self, uid: str, plan: runtime.ContainerPlan, network: str) -> Object:
        body: Object = {
            "Image": plan.image,
            "Env": [f"{name}={value}" for name, value in plan.env.items()],
            "Labels": {podman.LABEL: uid, podman.CONTAINER_LABEL: plan.name, LOG_LABEL: plan.log},
            "OpenStdin": plan.stdin,
            "StdinOnce": plan.stdin and plan.stdin_once,
            "Tty": plan.tty,
            "HostConfig": self._host(plan, network),
        }
        if plan.argv:
            body["Entrypoint"], body["Cmd"] = list(plan.argv), []
        elif plan.args:
            body["Cmd"] = list(plan.args)
        if plan.cwd:
            body["WorkingDir"] = plan.cwd
        if plan.credentials.uid is not None:
            who = plan.credentials
            body["User"] = f"{who.uid}:{who.gid if who.gid is not None else who.uid}"
        return body

    def _host(self, plan: runtime.ContainerPlan, network: str) -> Object:
        limits = {**self.options.rlimits, **plan.rlimits}
        host: Object = {
            "NetworkMode": network,
            "Mounts": [_mount(entry) for entry in plan.mounts],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": str(self.options.log_limit_bytes)}},
            "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in limits.items()],
            "SecurityOpt": ["no-new-privileges"] if plan.no_new_privs else [],
            "ReadonlyRootfs": plan.read_only_root,
            "PidsLimit": cgroups.MOST_PROCESSES,
            "GroupAdd": [str(group) for group in plan.credentials.groups],
        }
        if plan.memory_bytes:
            host["Memory"] = host["MemorySwap"] = plan.memory_bytes
        if plan.cpu_cores:
            host["CpuPeriod"], host["CpuQuota"] = 100_000, int(plan.cpu_cores * 100_000)
        if plan.capabilities is not None:
            host["CapDrop"], host["CapAdd"] = ["ALL"], list(plan.capabilities)
        return host

    async def wait(self, container: str) -> None:
        """Returns when it has ended and what it wrote is in its log."""
        found = await self.inspect(container)
        labels = (found.get("Config") or {}).get("Labels") or {}
        copying = asyncio.ensure_future(
            docker_logs.copy(
                self.http,
                f"{API}/containers/{container}/logs",
                labels.get(LOG_LABEL, ""),
                tty=bool((found.get("Config") or {}).get("Tty")),
                limit_bytes=self.options.log_limit_bytes,
            )
        )
        try:
            query = {"condition": "not-running"}
            await self.http.call("POST", f"{API}/containers/{container}/wait", query=query, timeout_seconds=None)
            await asyncio.wait([copying], timeout=_LAST_OUTPUT_SECONDS)
        finally:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)

    async def remove(self, container: str) -> None:
        try:
            query = {"force": "true", "v": "true"}
            await self.http.call("DELETE", f"{API}/containers/{container}", query=query)
        except engine_http.EngineError as error:
            if error.status not in (404, 409):  # 409: it is being removed already
                raise


class _Negotiating(engine_http.EngineHttp):
    """Speaks the version that this is written for, or the nearest that the daemon takes: Docker 29 refuses what is
    older than 1.44. Asked once, and again when the daemon was not there or left in the midst of an answer."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._api = ""

    async def _versioned(self, path: str) -> str:
        if not path.startswith(f"{API}/"):
            return path
        if not self._api:
            self._api = nearest(await self.call("GET", "/version", timeout_seconds=_VERSION_SECONDS))
        return self._api + path.removeprefix(API)

    def _lost(self) -> None:
        self._api = ""  # another release may answer next


def nearest(version: Any) -> str:
    """The prefix of the API's version to speak, of what `/version` says."""
    said = version if isinstance(version, Mapping) else {}
    lowest = _number(said.get("MinAPIVersion")) or _WRITTEN_FOR
    highest = _number(said.get("ApiVersion")) or _WRITTEN_FOR
    major, minor = min(max(_WRITTEN_FOR, lowest), max(highest, lowest))
    return f"/v{major}.{minor}"


def _number(text: object) -> tuple[int, int] | None:
    major, _, minor = str(text or "").partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def split(image: str) -> tuple[str, str]:
    """Name and tag (or digest) of an image."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, slash, last = image.rpartition("/")
    last, _, tag = last.partition(":")
    return head + slash + last, tag or "latest"


def _error(answer: Any) -> str:
    """What a stream of progress says went wrong, "" when nothing did."""
    if isinstance(answer, dict):
        return str(answer.get("error") or "")
    for line in str(answer or "").splitlines():
        try:
            found = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(found, Mapping) and found.get("error"):
            return str(found["error"])
    return ""


def _mount(entry: runtime.Mount) -> Object:
    if entry.kind == "tmpfs":
        options = {"SizeBytes": entry.size_bytes} if entry.size_bytes else {}
        return {"Type": "tmpfs", "Target": entry.target, "TmpfsOptions": options}
    return {"Type": "bind", "Source": entry.source, "Target": entry.target, "ReadOnly": entry.read_only}
