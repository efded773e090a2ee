"""Writes the files of a container's plan where no shim does it (a container engine's pods). Blocking."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from fairlead.node import runtime


def write(files: Iterable[runtime.NewFile]) -> None:
    """Makes each file hold what it should; a link that is there stays. Raises OSError."""
    for file in files:
        path = Path(file.path)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if file.link:
            with contextlib.suppress(FileExistsError):
                path.symlink_to(file.link)
            continue
        path.write_text(file.text)
        path.chmod(file.mode)
        if file.owner is not None:
            with contextlib.suppress(PermissionError):
                os.chown(path, *file.owner)
