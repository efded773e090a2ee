"""STATE/images.json: which command runs which image, and for whom; written by `up`, read by the node agent.

It holds resolved entries (absolute folders), so a cluster that starts again does not depend on where `up` was called.
`current` notices a newer file by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from fairlead.node import images


class Entry(msgspec.Struct, omit_defaults=True):
    """One image name or glob."""

    command: tuple[str, ...]
    folder: str
    env: dict[str, str] = msgspec.field(default_factory=dict)
    owner: tuple[int, int] | None = None


class Content(msgspec.Struct, omit_defaults=True):
    """The whole file. `folder` is the manifests' folder: its owner is as whom pods run where nothing else says so."""

    entries: dict[str, Entry] = msgspec.field(default_factory=dict)
    folder: str = ""
    sudo: tuple[int, int] | None = None

    def environment(self) -> dict[str, str]:
        """The variables by which sudo says who asked."""
        return {"SUDO_UID": str(self.sudo[0]), "SUDO_GID": str(self.sudo[1])} if self.sudo else {}


def read(path: Path) -> Content:
    """The content; empty where there is no file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Content)
    except FileNotFoundError:
        return Content()


def add(path: Path, entries: dict[str, Entry], *, folder: Path) -> None:
    """Adds entries (newer ones win) and remembers for whom, at once or not at all."""
    content = read(path)
    content.entries.update(entries)
    content.folder = str(folder)
    if os.environ.get("SUDO_UID", "").isdigit():
        content.sudo = (int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", os.environ["SUDO_UID"])))
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(content))
    draft.chmod(0o600)
    draft.replace(path)


def mapped(entries: dict[str, Entry]) -> images.ImageMap:
    """The map that these entries are."""
    return images.ImageMap(
        {name: images.ImageCommand(one.command, one.folder, one.env, one.owner) for name, one in entries.items()}
    )


class Images:
    """The node agent's view of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = -1
        self._map = images.ImageMap()

    def find(self, image: str) -> images.ImageCommand | None:
        """The command of that image, as the file says now."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            stamp = 0
        if stamp != self._stamp:
            self._stamp = stamp
            self._map = mapped(read(self._path).entries)
        return self._map.find(image)
