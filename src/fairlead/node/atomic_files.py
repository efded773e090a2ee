"""A folder of files that changes all at once, as the kubelet's AtomicWriter does it.

Every file is a link to `..data/NAME`; `..data` is a link to the newest generation and is replaced by one rename, so a
reader sees the old files or the new ones, never a mixture. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.node import runtime

_DATA = "..data"
_FIRST = "..first"


class BadPath(ValueError):
    """A path that would leave the folder; the message names it."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """One file."""

    data: bytes
    mode: int = 0o644


def write(folder: Path, files: Mapping[str, FileContent], *, owner: tuple[int, int] | None = None) -> bool:
    """Makes the folder hold exactly these files (relative paths). Returns whether anything changed. Raises BadPath."""
    for path in files:
        _check(path)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _current(folder) == dict(files):
        return False
    generation = _generation(folder, files, owner)
    before = folder / _DATA
    old = before.readlink() if before.is_symlink() else None
    if old is None:  # the first generation: nobody reads yet
        for name in (_DATA, *{path.split("/", 1)[0] for path in files}):
            os.symlink(generation.name if name == _DATA else f"{_DATA}/{name}", f"{folder}/{name}")  # noqa: PTH211
        return True
    fresh = folder / "..data_new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(generation.name)
    fresh.replace(before)
    _relink(folder, {path.split("/", 1)[0] for path in files})
    shutil.rmtree(folder / old, ignore_errors=True)
    return True


def _generation(folder: Path, files: Mapping[str, FileContent], owner: tuple[int, int] | None) -> Path:
    made = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    try:
        made.chmod(0o755)
        for path, content in files.items():
            if "/" in path:
                (made / path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _write_file(f"{made}/{path}", content, owner)
    except BaseException:  # a full disk is not to get fuller with each attempt
        shutil.rmtree(made, ignore_errors=True)
        raise
    return made


def first(
    folder: Path, files: Mapping[str, FileContent], *, owner: tuple[int, int] | None
) -> tuple[runtime.NewFile, ...]:
    """What `write` makes in a folder that does not exist yet, to be written by somebody else. Raises BadPath, and
    UnicodeDecodeError for what is no text."""
    made = []
    for path, content in files.items():
        _check(path)
        made.append(runtime.NewFile(f"{folder}/{_FIRST}/{path}", content.data.decode(), content.mode, owner))
    for name in (_DATA, *{path.split("/", 1)[0] for path in files}):
        made.append(runtime.NewFile(f"{folder}/{name}", link=_FIRST if name == _DATA else f"{_DATA}/{name}"))
    return tuple(made)


def _write_file(path: str, content: FileContent, owner: tuple[int, int] | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.data)
        os.fchmod(descriptor, content.mode)
        if owner is not None:
            os.fchown(descriptor, *owner)


def _check(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or any(part.startswith("..") for part in parts[:1]):
        raise BadPath(f"path {path!r} must be relative and must not leave the volume")


def _relink(folder: Path, names: set[str]) -> None:
    for name in names:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            with contextlib.suppress(OSError):
                entry.unlink()


def _current(folder: Path) -> dict[str, FileContent] | None:
    data = folder / _DATA
    if not data.is_symlink():
        return None
    found = {}
    for path in data.resolve().rglob("*"):
        if path.is_file():
            found[str(path.relative_to(data.resolve()))] = FileContent(path.read_bytes(), path.stat().st_mode & 0o7777)
    return found
