"""A Podman of the cluster's own, for network mode `rootless`: started in the cluster's namespaces, so that its
containers join pods' networks, see pods' volumes and are found again by the next life of fairlead.

Promises: it starts when an image first needs it; containers outlive it and us; what a dead life's namespaces held is
forgotten at the next start. Its storage is in STATE/containers; the images of the user's own Podman are read where they
are and never written, and its locks are not shared. Refused with a reason: containers of any other user than root (our
namespaces have this one user only, user_namespaces(7)). Limits are setrlimit(2)'s: there are no cgroups.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.base import clock, log, privilege
from fairlead.node import containers, dns, engine_http, engines, folders, image_stores, podman

_log = log.get(__name__)
Object = podman.Object
_START_SECONDS = 20.0
_ASK_SECONDS = 0.02
_END_SECONDS = 3.0
_SHARED_MEMORY, _SOURCE = "/dev/shm", "fairlead"  # noqa: S108 - where Podman has its locks
_LONGEST_RUN_ROOT = 50  # characters, by Podman's own check
_RESOLVER = Path("/etc/resolv.conf")
_MS_NOSUID, _MS_NODEV, _MS_BIND = 2, 4, 4096
_ROOT = ("", "0", "root")
_NOT_FOR_IT = ("CONTAINER_HOST", "CONTAINER_CONNECTION", "DOCKER_HOST", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET")


@dataclass(frozen=True, slots=True)
class Places:
    """`folder` is for all that is Podman's; `socket` and `log` are files."""

    folder: Path
    socket: Path
    log: Path


def find(
    environ: Mapping[str, str],
    inner: containers.Holder,
    places: Places,
    *,
    timer: clock.Clock,
    forced: str = "auto",
    fresh: bool = True,
) -> tuple[engines.Found, Service | None]:
    """What runs images in the cluster's namespaces, and the service to close; nothing is started yet. In `fresh`
    namespaces nothing of an earlier life runs."""
    if forced in ("process", "none"):
        return engines.Found(None, f"container engines are switched off by --runtime {forced}"), None
    if forced not in ("auto", "podman"):
        why = "in network mode rootless only Podman runs images, started by fairlead in its own namespaces: an engine"
        why += " that runs elsewhere cannot join pods' networks there (--runtime podman, or --network loopback)"
        return engines.Found(None, why), None
    if shutil.which("podman", path=environ.get("PATH")) is None:
        return engines.Found(None, "Podman is not installed (in network mode rootless it runs images)"), None
    store = image_stores.of_user(environ, privilege.real_uid())
    service = Service(places, environ, store=store, fresh=fresh)
    made = containers.ContainerRuntime(OwnPodman(service), inner, timer=timer)
    images = f", with the images of {store.folder}" if store else ""
    return engines.Found(made, f"Podman, started in the cluster's namespaces when an image needs it{images}"), service


class OwnPodman(podman.Podman):
    """The verbs; each starts the service if it does not run."""

    def __init__(self, service: Service) -> None:
        super().__init__(str(service.places.socket), podman.EngineSettings({}, cgroups=False))
        self.http = _StartingHttp(service)

    async def start(self, container: str) -> Object:
        config = (await self.inspect(container)).get("Config") or {}
        user = str(config.get("User") or "")
        if any(part not in _ROOT for part in user.split(":")):
            raise engine_http.EngineError(400, refusal(user, str(config.get("Image") or "")))
        return await super().start(container)


def refusal(user: str, image: str) -> str:
    """Why a container of that user does not start, and what to do."""
    return (
        f'image "{image}" is to run as user "{user}": in network mode rootless there is one user only, whose containers'
        " run as their namespace's root (outside: you); set securityContext.runAsUser and runAsGroup to 0 if the"
        " program allows it, or run fairlead as root (--network kernel)"
    )


class _StartingHttp(engine_http.EngineHttp):
    def __init__(self, service: Service) -> None:
        super().__init__(str(service.places.socket))
        self._service = service

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self._service.ensure()
        return await super()._connect()


class Service:
    """`podman system service`, started when it is needed."""

    def __init__(
        self, places: Places, environ: Mapping[str, str], *, store: image_stores.Store | None, fresh: bool
    ) -> None:
        self.places = places
        self._environ = environ
        self._store = store
        self._fresh = fresh
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()

    async def ensure(self) -> None:
        """Returns when it answers. Raises OSError with what it said when it does not start."""
        if self._process is not None and self._process.poll() is None:
            return
        async with self._starting:
            if self._process is None or self._process.poll() is not None:
                self._process = await self._start()

    async def _start(self) -> subprocess.Popen[bytes]:
        await asyncio.to_thread(self._prepare)
        process = await asyncio.to_thread(self._spawn)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._answer(process)
                if self._fresh:
                    await self._forget()
        except BaseException as error:
            await asyncio.to_thread(_end, process)
            if isinstance(error, TimeoutError):
                raise OSError(f"podman does not answer: {_last_line(self.places.log)}") from error
            raise
        self._fresh = False
        return process

    def _prepare(self) -> None:
        """Ends the service of an earlier life. After one whose namespaces are gone Podman is to see a machine that has
        been started anew."""
        _end_earlier(self.places.socket)
        self.places.socket.unlink(missing_ok=True)
        own_shared_memory()
        if self._fresh:
            for gone in (Path(_run_root(self.places)), self.places.folder / "tmp", self.places.folder / "user"):
                folders.remove_tree(gone)
        (self.places.folder / "user").mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.places.folder / "storage.conf").write_text(settings(self.places, self._store))
        self.places.log.write_bytes(b"")  # what it says is of this start
        own_resolver(self.places.folder / "resolv.conf")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.places.log.open("ab") as output:
            return subprocess.Popen(
                words(self.places, self._store), env=self._own_environ(), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, cwd="/", start_new_session=True,
            )  # fmt: skip

    def _own_environ(self) -> dict[str, str]:
        """As Podman sets it for itself when it has gone into a user namespace. Registries' passwords are the user's."""
        own = {name: value for name, value in self._environ.items() if name not in _NOT_FOR_IT}
        passwords = Path(own.get("XDG_RUNTIME_DIR", ""), "containers", "auth.json")
        if passwords.is_absolute() and passwords.exists():
            own.setdefault("REGISTRY_AUTH_FILE", str(passwords))
        return own | {
            "XDG_RUNTIME_DIR": str(self.places.folder / "user"),
            "CONTAINERS_STORAGE_CONF": str(self.places.folder / "storage.conf"),
            "_CONTAINERS_USERNS_CONFIGURED": "done",
            "_CONTAINERS_ROOTLESS_UID": str(privilege.real_uid()),
            "_CONTAINERS_ROOTLESS_GID": Path("/proc/self/gid_map").read_text().split()[1],
        }

    async def _answer(self, process: subprocess.Popen[bytes]) -> None:
        """Returns when somebody listens. Raises OSError when nobody will."""
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(str(self.places.socket))
            except OSError:
                if process.poll() is not None:
                    raise OSError(f"podman has ended: {_last_line(self.places.log)}") from None
                await asyncio.sleep(_ASK_SECONDS)
            else:
                writer.close()
                return

    async def _forget(self) -> None:
        """Removes the containers of an earlier life, which ended with its namespaces."""
        plain = podman.Podman(str(self.places.socket), podman.EngineSettings({}))
        for entry in await plain.http.call("GET", f"{plain.api}/containers/json", query={"all": "true"}) or []:
            await plain.remove(entry["Id"])

    async def close(self) -> None:
        """Ends it; containers go on."""
        if self._process is not None:
            await asyncio.to_thread(_end, self._process)
            self._process = None


def words(places: Places, store: image_stores.Store | None) -> list[str]:
    """The command line."""
    found = ["podman", "--root", _root(places, store), "--runroot", _run_root(places)]
    found += ["--tmpdir", str(places.folder / "tmp"), "--cgroup-manager", "cgroupfs"]
    if store is not None:
        found += ["--storage-driver", store.driver, "--storage-opt", f".imagestore={store.folder}"]
    found += ["--storage-opt", ".ignore_chown_errors=true"]  # files of users that do not exist here become ours
    return [*found, "system", "service", "--time=0", f"unix://{places.socket}"]


def settings(places: Places, store: image_stores.Store | None) -> str:
    """A storage.conf in place of the user's, for what the command line leaves open."""
    driver = f"driver = {_quoted(store.driver)}\n" if store else ""
    folders = f"graphroot = {_quoted(_root(places, store))}\nrunroot = {_quoted(_run_root(places))}\n"
    return f"[storage]\n{driver}{folders}"


def _root(places: Places, store: image_stores.Store | None) -> str:
    """Each driver has a storage of its own, so that it may change with the user's."""
    return str(places.folder / (store.driver if store else "own"))


def _run_root(places: Places) -> str:
    """What is of one life of the namespaces. Podman refuses a long path; what we mounted has a short one."""
    usual = str(places.folder / "run")
    return usual if len(usual) <= _LONGEST_RUN_ROOT else f"{_SHARED_MEMORY}/{_SOURCE}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # TOML's basic strings


def own_shared_memory() -> None:
    """Gives the namespaces a /dev/shm of their own: Podman keeps its locks there by user, whatever the storage, and
    would free those of the user's other Podman. Raises OSError."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    above = [entry for entry in mounts if entry[4] == _SHARED_MEMORY]
    if not Path(_SHARED_MEMORY).is_dir() or (above and above[-1][above[-1].index("-") + 2] == _SOURCE):
        return
    _mount(_SOURCE, _SHARED_MEMORY, "tmpfs", flags=_MS_NOSUID | _MS_NODEV, options="mode=1777")


def own_resolver(file: Path, *, host: dns.Config | None = None, behind: dns.Config | None = None) -> None:
    """Where names are asked at a loopback address of the machine's, which is not ours, puts `file` with the servers
    behind it in resolv.conf's place: registries have names. Raises OSError."""
    known = host or dns.of_host()
    reached = dns.without_loopback(known, "", behind=behind)
    if reached.nameservers and reached != known:
        file.write_text(reached.text())
        _mount(str(file), str(_RESOLVER.resolve()), "", flags=_MS_BIND, options="")


def _mount(source: str, target: str, kind: str, *, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _end_earlier(socket: Path) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found = (entry / "cmdline").read_bytes().split(b"\0")
                if f"unix://{socket}".encode() in found and Path(os.fsdecode(found[0])).name == "podman":
                    os.kill(int(entry.name), signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "it said nothing"
