"""What the node agent knows of a pod's containers; kept on disk beside the shim so that the next life knows it, too.

`STATE/pods/UID/agent.json` changes all at once. It is no source of truth about what runs (the shim is), only about
what no process remembers: restart counts, back-off, container ids, the last end, the pod's address.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

FILE = "agent.json"
_PAGE_BYTES = 4096


class Ended(msgspec.Struct, frozen=True):
    """One end of one container, as `state.terminated` tells it."""

    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    id: str = ""
    message: str = ""


class ContainerRecord(msgspec.Struct):
    """A container through all of its restarts. It runs when `pid` is set; it has ended when `ended` is."""

    name: str
    id: str = ""
    pid: int = 0
    started_at: float = 0.0
    image_id: str = ""
    image: str = ""
    ended: Ended | None = None
    last: Ended | None = None
    restarts: int = 0
    attempts: int = 0
    started: bool = False
    ready: bool = False
    starting: bool = False
    killing: str = ""
    backoff_seconds: float = 0.0
    backoff_at: float = 0.0
    waiting_reason: str = ""
    waiting_message: str = ""
    retry_at: float = 0.0
    pull_backoff_seconds: float = 0.0

    @property
    def running(self) -> bool:
        return self.pid != 0


class PodRecord(msgspec.Struct):
    """All of a pod that must outlive us. Times are seconds since 1970."""

    uid: str
    namespace: str = ""
    name: str = ""
    ip: str = ""
    second_ip: str = msgspec.field(default="", name="ip6")  # of the other address family
    runtime: str = ""
    started_at: float = 0.0
    ports: dict[str, int] = {}
    initialized: bool = False
    network_ready: bool = False
    failure_reason: str = ""
    failure_message: str = ""
    containers: dict[str, ContainerRecord] = {}

    @property
    def addresses(self) -> list[str]:
        """All that the pod has, of its first address family first."""
        return [one for one in (self.ip, self.second_ip) if one]

    def container(self, name: str) -> ContainerRecord:
        """That container's record, made when it is new."""
        if name not in self.containers:
            self.containers[name] = ContainerRecord(name)
        return self.containers[name]


def load(folder: Path) -> PodRecord | None:
    """The record in that pod's folder; None when there is none that can be read."""
    try:
        with open(f"{folder}/{FILE}", "rb") as file:  # noqa: PTH123 - of each new pod, which has none
            record = msgspec.json.decode(file.read(), type=PodRecord)
    except (OSError, msgspec.MsgspecError):
        return None
    for container in record.containers.values():
        container.starting = False
        container.killing = ""
    return record


def save(folder: Path, record: PodRecord) -> None:
    """Writes the record. Blocking: a file system may make a replaced file wait for its disk."""
    write(folder, encode(record))


def encode(record: PodRecord) -> bytes:
    """The record as text in UTF-8."""
    return msgspec.json.encode(record)


def write(folder: Path, encoded: bytes) -> None:
    """Writes a record that is encoded. A full disk must not hurt the pod: then the old record stays. Blocking."""
    file = f"{folder}/{FILE}"
    with contextlib.suppress(OSError):
        if not overwrite(folder, encoded):
            with open(f"{file}.new", "wb") as temporary:  # noqa: PTH123 - half the time of a Path
                temporary.write(encoded)
            os.replace(f"{file}.new", file)  # noqa: PTH105


def overwrite(folder: Path, encoded: bytes) -> bool:
    """One write over what is there, filled up with blanks, within one page: who reads it, whenever we are killed, sees
    the old record or the new one, and no new file has to be made for each change. False where that cannot be; `write`
    can. It does not wait for the disk."""
    try:
        descriptor = os.open(f"{folder}/{FILE}", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        before = os.fstat(descriptor).st_size
        if not before or max(before, len(encoded)) > _PAGE_BYTES:
            return False
        os.pwrite(descriptor, encoded.ljust(before), 0)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
