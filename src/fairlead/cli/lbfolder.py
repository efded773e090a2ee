"""Where a `fairlead lb` has its engine's sockets: the same folder for the same key, so that a killed one's are found.

Promises: the folder is ours alone (0700, owned by us), locked while we live and removed at our end; a killed lb
leaves it, with the engine that carries on, to the next one of the same key in the same network namespace. Where another
lb of that key lives, or the folder is not ours, a folder of no name is used, and nothing is left or adopted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(key: str) -> Iterator[Path]:
    """The folder of that key while the block runs."""
    known = place(key)
    lock = _locked(known)
    if lock is None:
        with tempfile.TemporaryDirectory(prefix="fairlead-lb-") as folder:
            yield Path(folder)
        return
    try:
        yield known
    finally:
        shutil.rmtree(known, ignore_errors=True)
        os.close(lock)


def place(key: str) -> Path:
    """Where the folder of that key is."""
    namespace = Path("/proc/self/ns/net").stat().st_ino
    name = hashlib.sha256(f"{namespace} {key}".encode()).hexdigest()[:16]
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"fairlead-lb-{os.geteuid()}-{name}"


def _locked(folder: Path) -> int | None:
    """Makes and locks it; None where it is somebody else's."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o170077 != 0o040000:
        return None
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def is_left(folder: Path) -> bool:
    """Whether an engine was left there."""
    return (folder / "engine.sock").exists()
