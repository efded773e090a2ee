"""Which command runs an image when pods are processes: `fairlead.yaml`, read and answered.

    images:
      "my-app:*":
        command: [python3, server.py]   # or a string, split as a shell would
        dir: web                        # relative to this file; default: the file's folder
        env: {DEBUG: "1"}

Globs are allowed; the most specific entry wins (exact, then the longest). `nginx`, `nginx:latest` and
`docker.io/library/nginx:latest` are one name. Mistakes are Problems that name the field; the rest of the file counts.
"""

from __future__ import annotations

import fnmatch
import functools
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fairlead.api import manifest, problem

FILE_NAME = "fairlead.yaml"


@dataclass(frozen=True, slots=True)
class ImageCommand:
    """What runs instead of an image. `folder` is absolute; `owner` (uid, gid) is whose file said so."""

    command: tuple[str, ...]
    folder: str
    env: Mapping[str, str] = field(default_factory=dict)
    owner: tuple[int, int] | None = None


class ImageSource(Protocol):
    """Who knows which command runs an image."""

    def find(self, image: str) -> ImageCommand | None: ...


class ImageMap:
    """Image names and globs to commands."""

    def __init__(self, entries: Mapping[str, ImageCommand] | None = None) -> None:
        self._entries = dict(entries or {})
        self._known = functools.lru_cache(maxsize=256)(self._search)

    def find(self, image: str) -> ImageCommand | None:
        """The command of that image, if an entry matches."""
        return self._known(image)

    def _search(self, image: str) -> ImageCommand | None:
        names = _spellings(image)
        matching = [pattern for pattern in self._entries if names & _spellings(pattern) or _matches(names, pattern)]
        if not matching:
            return None
        return self._entries[max(matching, key=lambda pattern: (not _is_glob(pattern), len(pattern)))]

    def merged(self, others: Iterable[ImageMap]) -> ImageMap:
        """This map with the others' entries; later ones win."""
        entries = dict(self._entries)
        for other in others:
            entries.update(other._entries)
        return ImageMap(entries)

    @property
    def entries(self) -> Mapping[str, ImageCommand]:
        """Names and globs with their commands."""
        return self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<ImageMap {sorted(self._entries)}>"


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _matches(names: set[str], pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _spellings(image: str) -> set[str]:
    """The ways to write one image's name."""
    short = image.removeprefix("docker.io/").removeprefix("library/")
    tagged = short if ":" in short.rsplit("/", 1)[-1] or "@" in short else f"{short}:latest"
    found = {image, short, tagged}
    if tagged.endswith(":latest"):
        found.add(tagged.removesuffix(":latest"))
    return found


def load(path: Path) -> tuple[ImageMap, list[problem.Problem]]:
    """The map of that `fairlead.yaml`, and what is wrong in it. Raises OSError when it cannot be read."""
    owner = path.stat()
    return parse(
        path.read_bytes(),
        source=str(path),
        folder=path.resolve().parent,
        owner=(owner.st_uid, owner.st_gid),
    )


def parse(
    text: bytes | str, *, source: str, folder: Path, owner: tuple[int, int] | None = None
) -> tuple[ImageMap, list[problem.Problem]]:
    """The map in that text; relative folders are relative to `folder`."""
    found = _Problems(source)
    try:
        documents = [document for _, document in manifest.load_documents(text, source=source)]
    except manifest.ManifestError as error:
        found.add("", "InvalidFile", error.message)
        return ImageMap(), found.all
    entries: dict[str, ImageCommand] = {}
    for document in documents:
        if not isinstance(document, dict):
            found.add("", "InvalidFile", "a mapping with the key images is expected")
            continue
        for key in document.keys() - {"images"}:
            found.add(str(key), "UnknownField", "only images is known here")
        images = document.get("images") or {}
        if not isinstance(images, dict):
            found.add("images", "InvalidField", "must map image names to {command, dir, env}")
            continue
        for name, entry in images.items():
            parsed = _entry(str(name), entry, folder, owner, found)
            if parsed is not None:
                entries[str(name)] = parsed
    return ImageMap(entries), found.all


class _Problems:
    def __init__(self, source: str) -> None:
        self._source = source
        self.all: list[problem.Problem] = []

    def add(self, path: str, reason: str, message: str) -> None:
        self.all.append(problem.Problem(self._source, path, reason, message))


def _entry(name: str, entry: Any, folder: Path, owner: tuple[int, int] | None, found: _Problems) -> ImageCommand | None:
    where = f'images["{name}"]'
    if isinstance(entry, str | list):
        entry = {"command": entry}
    if not isinstance(entry, dict):
        found.add(where, "InvalidField", "must be {command: [...], dir: ..., env: {...}}")
        return None
    for key in entry.keys() - {"command", "dir", "env"}:
        found.add(f"{where}.{key}", "UnknownField", "known are command, dir and env")
    command = _command(entry.get("command"), f"{where}.command", found)
    env = _env(entry.get("env"), f"{where}.env", found)
    base = _folder(entry.get("dir"), folder, f"{where}.dir", found)
    if command is None or env is None or base is None:
        return None
    return ImageCommand(command, base, env, owner)


def _command(value: Any, where: str, found: _Problems) -> tuple[str, ...] | None:
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        found.add(where, "InvalidField", f"cannot be split into words: {error}")
        return None
    if not isinstance(words, list) or not words or not all(isinstance(word, str | int | float) for word in words):
        found.add(where, "InvalidField", "must be a list of words, such as [python3, app.py]")
        return None
    return tuple(str(word) for word in words)


def _env(value: Any, where: str, found: _Problems) -> dict[str, str] | None:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(isinstance(entry, dict | list) for entry in value.values()):
        found.add(where, "InvalidField", "must map names to texts")
        return None
    return {str(key): _text(entry) for key, entry in value.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _folder(value: Any, folder: Path, where: str, found: _Problems) -> str | None:
    if value is not None and not isinstance(value, str):
        found.add(where, "InvalidField", "must be a path")
        return None
    path = (folder / value).resolve() if value else folder
    if not path.is_dir():
        found.add(where, "NotFound", f"{path} is not a folder")
        return None
    return str(path)


def ways_out(image: str) -> str:
    """What a user can do when nothing here can run that image."""
    name = image.rsplit("/", 1)[-1].split("@")[0].split(":")[0] or "app"
    return (
        f"nothing here can run image {image!r}. Three ways out: map it to a command in {FILE_NAME} "
        f'beside the manifests (images: {{"{name}:*": {{command: [...]}}}}) or with --image; '
        "give the container its own command; or start Podman or Docker, which can run the image itself"
    )
