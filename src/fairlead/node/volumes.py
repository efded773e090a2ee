"""The volumes of one pod on disk, and the mounts that containers get of them.

`emptyDir` and the generated ones live in STATE/pods/UID/volumes and go with the pod; generated ones are looked at again
every ten seconds, so that updates reach the pod. `hostPath` is the host's own. Everything else
(PersistentVolumeClaim, CSI, …) is refused by VolumeProblem.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.base import log
from fairlead.node import atomic_files, env, expand, runtime, volume_content

_log = log.get(__name__)
Object = dict[str, Any]
REFRESH_SECONDS = 10.0
_KNOWN = ("emptyDir", "hostPath", "configMap", "secret", "downwardAPI", "projected")


class PodVolumes:
    """The volumes of one pod. `prepare` may be called for every container; it does each volume once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner: tuple[int, int] | None = None
        self._prepared: set[str] = set()

    async def prepare(self, pod: Object, container: Object, facts: env.Facts, *, who: runtime.Credentials) -> None:
        """Makes what the container mounts; the first to mount a volume, or the pod's fsGroup, owns it. Raises
        VolumeProblem."""
        if self._owner is None and who.uid is not None:
            group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
            self._owner = (who.uid, group if group is not None else who.gid if who.gid is not None else who.uid)
        wanted = {mount["name"] for mount in container.get("volumeMounts") or []}
        for volume in pod["spec"].get("volumes") or []:
            name = volume["name"]
            if name not in wanted or name in self._prepared:
                continue
            await asyncio.to_thread(self._make, volume, container, facts)
            self._prepared.add(name)

    async def refresh(self, pod: Object, facts: env.Facts) -> None:
        """Brings the generated volumes that are in use up to date; what is missing now stays as it was."""
        for volume in pod["spec"].get("volumes") or []:
            if volume["name"] in self._prepared and volume_content.is_generated(volume):
                try:
                    await asyncio.to_thread(self._make, volume, pod["spec"]["containers"][0], facts)
                except volume_content.VolumeProblem as error:
                    _log.debug("a volume was not refreshed", volume=volume["name"], why=str(error))

    def _make(self, volume: Object, container: Object, facts: env.Facts) -> None:
        path = self._path(volume["name"])
        try:
            if volume_content.is_generated(volume):
                atomic_files.write(path, volume_content.files(volume, container, facts), owner=self._owner)
            elif volume.get("emptyDir") is not None:
                self._empty_dir(path)
            elif volume.get("hostPath") is not None:
                self._host_path(volume["hostPath"])
            else:
                kind = next((word for word in volume if word != "name"), "nothing")
                raise volume_content.VolumeProblem(f"{kind} volumes are not offered; known are {', '.join(_KNOWN)}")
        except (OSError, atomic_files.BadPath) as error:
            raise volume_content.VolumeProblem(str(error)) from error

    def _path(self, name: str) -> Path:
        return self._folder / "volumes" / name

    def _empty_dir(self, path: Path) -> None:
        if path.exists():
            return
        path.mkdir(parents=True)
        path.chmod(0o777)
        if self._owner is not None:
            os.chown(path, *self._owner)

    def _host_path(self, source: Object) -> None:
        path, kind = Path(source.get("path", "")), source.get("type") or ""
        if kind == "DirectoryOrCreate" and not path.exists():
            path.mkdir(mode=0o755, parents=True)
        if kind == "FileOrCreate" and not path.exists():
            path.touch(mode=0o644)
        check = _HOST_PATH_CHECKS.get(kind)
        if check is not None and not (path.exists() and check(path.stat().st_mode)):
            raise volume_content.VolumeProblem(f"hostPath type check failed: {path} is not a {kind}")

    def mounts(self, pod: Object, container: Object, values: Mapping[str, str]) -> tuple[runtime.Mount, ...]:
        """What the container gets to see, in the order of its mount paths. Raises VolumeProblem."""
        by_name = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
        found = []
        for mount in container.get("volumeMounts") or []:
            volume = by_name.get(mount["name"])
            if volume is None:
                raise volume_content.VolumeProblem(
                    f"volumeMounts names {mount['name']!r}, which is no volume of the pod"
                )
            source = self._source(volume, mount, values)
            found.append(runtime.Mount(mount["mountPath"], str(source), read_only=bool(mount.get("readOnly"))))
        return tuple(sorted(found, key=lambda entry: entry.target))

    def _source(self, volume: Object, mount: Object, values: Mapping[str, str]) -> Path:
        root = Path(volume["hostPath"]["path"]) if volume.get("hostPath") is not None else self._path(volume["name"])
        below = mount.get("subPath") or expand.expand(mount.get("subPathExpr") or "", values)
        if not below:
            return root
        if below.startswith("/") or ".." in below.split("/"):
            raise volume_content.VolumeProblem(f"subPath {below!r} must be relative and must not leave the volume")
        source = root / below
        if not source.exists():
            if volume_content.is_generated(volume):
                raise volume_content.VolumeProblem(f"subPath {below!r} is not in volume {volume['name']}")
            source.mkdir(parents=True, exist_ok=True)
            if self._owner is not None:
                os.chown(source, *self._owner)
        if not source.resolve().is_relative_to(root.resolve()):
            raise volume_content.VolumeProblem(f"subPath {below!r} leads out of the volume")
        return source.resolve()


def references(pod: Object, container: Object | None) -> set[env.Key]:
    """The ConfigMaps and Secrets behind the container's mounts (behind all volumes without a container)."""
    wanted = {mount["name"] for mount in (container or {}).get("volumeMounts") or []}
    found: set[env.Key] = set()
    for volume in pod["spec"].get("volumes") or []:
        if container is None or volume["name"] in wanted:
            found |= volume_content.references(volume)
    return found


_HOST_PATH_CHECKS = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}
