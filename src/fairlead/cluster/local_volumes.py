"""The folders behind PersistentVolumes of a local cluster: in STATE/volumes, kept by `down`, removed by --purge."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path


class LocalVolumes:
    """Makes nothing itself: whoever mounts a volume first makes its folder."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder)

    async def remove(self, path: str) -> None:
        """Removes one volume's folder; one that is gone already is no error. Raises OSError."""
        if Path(path).parent != Path(self.root):
            raise PermissionError(f"{path} is not a volume of this cluster")
        await asyncio.to_thread(_remove, path)


def _remove(path: str) -> None:
    if Path(path).exists():
        shutil.rmtree(path)
