"""Which command runs which image, as the user says: `fairlead.yaml` beside the manifests and `--image NAME=COMMAND`."""

from __future__ import annotations

import shlex
from pathlib import Path

from fairlead.cli import failure
from fairlead.cluster import imagefile
from fairlead.node import images


def collect(files: list[Path], flags: tuple[str, ...]) -> dict[str, imagefile.Entry]:
    """The entries of all files and flags; flags win. Raises Failure naming file and field of every mistake."""
    found: dict[str, imagefile.Entry] = {}
    mistakes: list[str] = []
    for path in files:
        parsed, problems = images.load(path)
        mistakes += [str(one) for one in problems]
        for name, entry in parsed.entries.items():
            found[name] = imagefile.Entry(entry.command, entry.folder, dict(entry.env), entry.owner)
    for text in flags:
        name, equals, words = text.partition("=")
        if not equals or not name or not words.strip():
            mistakes.append(f"--image {text}: NAME=COMMAND is expected, such as --image 'web:*=python3 app.py'")
            continue
        found[name] = imagefile.Entry(_words(text, words, mistakes), str(Path.cwd()))
    if mistakes:
        raise failure.Failure(*mistakes)
    return found


def _words(text: str, command: str, mistakes: list[str]) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        mistakes.append(f"--image {text}: cannot be split into words: {error}")
        return ()
