"""Where the images of this user's Podman are, so that one of ours can read them without copying them.

The storage's folder and driver are those that the user's `storage.conf` names (containers-storage.conf(5)), else
Podman's defaults. What is not there yet is no store: images come from a registry then.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DRIVERS = ("overlay", "vfs")  # whose stores may be read beside one's own


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of images, in the layout of that driver."""

    folder: Path
    driver: str


def of_user(environ: Mapping[str, str], uid: int) -> Store | None:
    """The store of this user's Podman, if it has one that can be shared. Blocking."""
    wanted = _configured(environ, uid)
    folder = Path(str(wanted.get("graphroot") or "") or _default(environ, uid))
    named = str(wanted.get("driver") or "")
    for driver in (named,) if named else DRIVERS:
        if driver in DRIVERS and (folder / f"{driver}-images" / "images.json").exists():
            return Store(folder, driver)
    return None


def _default(environ: Mapping[str, str], uid: int) -> str:
    if uid == 0:
        return "/var/lib/containers/storage"
    data = environ.get("XDG_DATA_HOME") or f"{environ.get('HOME', '')}/.local/share"
    return f"{data}/containers/storage"


def _configured(environ: Mapping[str, str], uid: int) -> dict[str, object]:
    """The user's [storage]. The machine's own one speaks of root's folder."""
    config = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    own = "/etc/containers/storage.conf" if uid == 0 else f"{config}/containers/storage.conf"
    try:
        found = tomllib.loads(Path(environ.get("CONTAINERS_STORAGE_CONF") or own).read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
    storage = found.get("storage")
    if not isinstance(storage, dict):
        return {}
    return {key: os.path.expandvars(value) for key, value in storage.items() if isinstance(value, str)}
