"""The folder a local cluster lives in: STATE/NAME, mode 0700, locked by the one process that runs the cluster.

STATE is /var/lib/fairlead for root, $XDG_STATE_HOME/fairlead (~/.local/state/fairlead) for everybody else.
`FAIRLEAD_STATE` overrides both. Refused: names that are no DNS label, folders that others may write to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fairlead.node import folders

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


class StateError(Exception):
    """The state folder cannot be used; the message says why and what to do."""


class StateBusy(StateError):
    """Another fairlead runs this cluster; `pid` is its process (0 when unknown)."""

    def __init__(self, name: str, pid: int) -> None:
        super().__init__(
            f"cluster {name!r} is already running (pid {pid}); `fairlead up -d …` applies manifests to it, "
            "another --name starts another"
        )
        self.pid = pid


class Record(msgspec.Struct, omit_defaults=True):
    """What a cluster must remember of itself between two lives (cluster.json)."""

    network: str = ""
    network_reason: str = ""
    connect_time: str = ""  # whether Services are balanced at connect time, in words
    api_address: str = "127.0.0.1"
    api_port: int = 0
    localhost: list[str] = msgspec.field(default_factory=list)  # the loopback addresses that doors are opened at
    edge_http: list[str] = msgspec.field(default_factory=list)
    edge_https: list[str] = msgspec.field(default_factory=list)
    pod_cidr: str = ""
    service_cidr: str = ""
    second_pod_cidr: str = msgspec.field(default="", name="pod_cidr6")  # of the other family, "" where there is none
    second_service_cidr: str = msgspec.field(default="", name="service_cidr6")
    ip_family: str = ""  # as it was asked for
    dns: str = ""  # ADDR:PORT at which the engine answers for the cluster domain
    lowest_port: int = 1024
    ingress_nginx: bool = False
    obstacles: list[str] = msgspec.field(default_factory=list)  # firewalls that stop pods' packets, and what to do
    ephemeral: bool = False
    run_as: str = ""
    started_at: float = 0.0
    clean: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def given(self) -> list[tuple[str, str]]:
        """The ranges of pods and of Services, for each address family."""
        both = ((self.pod_cidr, self.service_cidr), (self.second_pod_cidr, self.second_service_cidr))
        return [one for one in both if one[0]]


def root_folder() -> Path:
    """Where the clusters of this user live."""
    if override := os.environ.get("FAIRLEAD_STATE"):
        return Path(override)
    if os.geteuid() == 0:
        return Path("/var/lib/fairlead")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "fairlead"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths of one cluster."""

    name: str
    path: Path

    @classmethod
    def of(cls, name: str, *, root: Path | None = None) -> StateFolder:
        """The folder of that cluster. Raises StateError for a name that is no DNS label of at most 32 characters."""
        if not _NAME.fullmatch(name):
            raise StateError(f"--name {name!r}: lower-case letters, digits and '-', at most 32 characters")
        return cls(name, (root or root_folder()) / name)

    @property
    def store(self) -> Path:
        return self.path / "store.db"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def pods(self) -> Path:
        return self.path / "pods"

    @property
    def containers(self) -> Path:
        """The storage of the Podman that runs images in network mode rootless; made when the first is needed."""
        return self.path / "containers"

    @property
    def volumes(self) -> Path:
        """The folders behind PersistentVolumes; made when the first is."""
        return self.path / "volumes"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def images(self) -> Path:
        return self.path / "images.json"

    def remember(self, options: dict[str, Any]) -> None:
        """Writes down with which options the cluster is started now."""
        self._replace("options.json", msgspec.json.encode(options))

    def options(self) -> dict[str, Any]:
        """With which it was started last; lists are tuples, as on a command line."""
        try:
            found = msgspec.json.decode((self.path / "options.json").read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return {}
        return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}

    def exists(self) -> bool:
        return self.path.is_dir()

    def create(self) -> None:
        """Makes the folder and its parts, 0700. Raises StateError if it belongs to somebody else."""
        for folder in (self.path, self.run, self.pods, self.pki, self.log):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise StateError(f"{self.path} belongs to another user or others may write to it; choose another --name")

    def remove(self) -> None:
        """Removes the folder with all in it, and the parent if that leaves it empty."""
        folders.remove_tree(self.containers)
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are in it, or it is a mount
            self.path.parent.rmdir()

    def read(self) -> Record:
        """The record, or an empty one."""
        try:
            return msgspec.json.decode((self.path / "cluster.json").read_bytes(), type=Record)
        except FileNotFoundError:
            return Record()
        except msgspec.DecodeError as error:
            raise StateError(f"{self.path / 'cluster.json'} is damaged: {error}") from None

    def write(self, record: Record) -> None:
        """Replaces the record at once or not at all."""
        self._replace("cluster.json", msgspec.json.encode(record))

    def _replace(self, name: str, content: bytes) -> None:
        """A full disk, or a process that is killed midway, leaves the old file as it was."""
        draft = self.path / f"{name}.new"
        try:
            with draft.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(content)
            draft.replace(self.path / name)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def holder(self) -> int:
        """The pid of the fairlead that runs this cluster; 0 if none does."""
        try:
            with (self.path / "lock").open("r") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read().strip() or 0) or -1
        except (FileNotFoundError, ValueError):
            pass
        return 0


class Lock:
    """Held by the process that runs the cluster, for as long as it lives."""

    def __init__(self, state: StateFolder) -> None:
        self._file = (state.path / "lock").open("a+")
        os.fchmod(self._file.fileno(), 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            pid = int(self._file.read().strip() or 0)
            self._file.close()
            raise StateBusy(state.name, pid) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()
