"""The volumes of one pod on disk, and the mounts that containers get of them.

`emptyDir` and the generated ones live in STATE/pods/UID/volumes and go with the pod (generated ones of a process pod in
memory, see `folders`); generated ones are looked at again every ten seconds (those that hold nothing but a token and
the CA every minute), so that updates reach the pod. `hostPath` and what a PersistentVolumeClaim is bound to are the
host's own folders. An emptyDir in memory is a file system of its own with `sizeLimit` as its size; on the disk
`over_limit` tells which one has outgrown its limit. Everything else (CSI, NFS, …) is refused by VolumeProblem.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.api import quantity
from fairlead.base import log
from fairlead.node import atomic_files, claims, env, expand, folders, runtime, volume_content

_log = log.get(__name__)
Object = dict[str, Any]
REFRESH_SECONDS, SLOW_REFRESH_SECONDS = 10.0, 60.0
ACCOUNT_PREFIX = "kube-api-access-"
_KNOWN = (
    "emptyDir",
    "hostPath",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "persistentVolumeClaim",
    "ephemeral",
)


class PodVolumes:
    """The volumes of one pod. `prepare` may be called for every container; it does each volume once."""

    def __init__(self, folder: Path, *, small: Path | None = None) -> None:
        """Generated volumes are in `small`, else in `folder`, where a pod of an earlier life may have them."""
        self._folder = folder
        self._small = small or folder
        self._owner: tuple[int, int] | None = None
        self._prepared: set[str] = set()
        self._claimed: dict[str, Object] = {}  # volume -> what its claim is bound to
        self._paths: dict[str, Path] = {}

    async def prepare(
        self, pod: Object, container: Object, facts: env.Facts, *, who: runtime.Credentials
    ) -> tuple[runtime.NewFile, ...]:
        """Makes what the container mounts; the first to mount a volume, or the pod's fsGroup, owns it. Returns the
        files of the account's volume, when it is not there yet: whoever starts the container writes them. Raises
        VolumeProblem."""
        if self._owner is None and who.uid is not None:
            group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
            self._owner = (who.uid, group if group is not None else who.gid if who.gid is not None else who.uid)
        wanted = {mount["name"] for mount in container.get("volumeMounts") or []}
        files: tuple[runtime.NewFile, ...] = ()
        for volume in pod["spec"].get("volumes") or []:
            name = volume["name"]
            if name in wanted and _may_come_later(volume, container) and not self._path(volume).exists():
                files += self._first(volume, container, facts)
                self._prepared.add(name)
            if name not in wanted or name in self._prepared:
                continue
            if volume.get("emptyDir") is not None:  # less time to make than to hand to a thread
                self._make(volume, container, facts)
            else:
                await asyncio.to_thread(self._make, volume, container, facts)
            self._prepared.add(name)
        return files

    def _first(self, volume: Object, container: Object, facts: env.Facts) -> tuple[runtime.NewFile, ...]:
        content = volume_content.files(volume, container, facts)
        try:
            return atomic_files.first(self._path(volume), content, owner=self._owner)
        except (atomic_files.BadPath, UnicodeDecodeError) as error:
            raise volume_content.VolumeProblem(str(error)) from error

    async def refresh(self, pod: Object, facts: env.Facts) -> None:
        """Brings the generated volumes that are in use up to date; what is missing now stays as it was."""
        for volume in pod["spec"].get("volumes") or []:
            if volume["name"] in self._prepared and volume_content.is_generated(volume):
                try:
                    await asyncio.to_thread(self._make, volume, pod["spec"]["containers"][0], facts)
                except volume_content.VolumeProblem as error:
                    _log.debug("a volume was not refreshed", volume=volume["name"], why=str(error))

    def _make(self, volume: Object, container: Object, facts: env.Facts) -> None:
        path = self._path(volume)
        try:
            if volume_content.is_generated(volume):
                atomic_files.write(path, volume_content.files(volume, container, facts), owner=self._owner)
            elif volume.get("emptyDir") is not None:
                self._empty_dir(path, volume["emptyDir"])
            elif volume.get("hostPath") is not None:
                self._host_path(volume["hostPath"])
            elif claims.name_of(facts.pod, volume):
                self._claim(volume, claims.name_of(facts.pod, volume), facts)
            else:
                kind = next((word for word in volume if word != "name"), "nothing")
                raise volume_content.VolumeProblem(f"{kind} volumes are not offered; known are {', '.join(_KNOWN)}")
        except (OSError, atomic_files.BadPath) as error:
            raise volume_content.VolumeProblem(str(error)) from error

    def _path(self, volume: Object) -> Path:
        name = volume["name"]
        if name not in self._paths:
            path = f"{self._folder}/volumes/{name}"
            if volume_content.is_generated(volume) and not os.path.exists(path):  # noqa: PTH110 - of each new pod
                path = f"{self._small}/volumes/{name}"
            self._paths[name] = Path(path)
        return self._paths[name]

    def _empty_dir(self, path: Path, source: Object) -> None:
        if path.exists():
            return
        medium = source.get("medium") or ""
        if medium not in ("", "Memory"):
            raise volume_content.VolumeProblem(f"emptyDir.medium {medium!r} is not offered; known is Memory")
        path.mkdir(parents=True)
        if medium == "Memory" and folders.can_mount():
            folders.mount_memory(path, size_bytes=size_limit(source))
        self._hand_over(path)

    def _claim(self, volume: Object, name: str, facts: env.Facts) -> None:
        bound = facts.objects.get((claims.KIND, name))
        if bound is None:
            raise volume_content.VolumeProblem(f'persistentvolumeclaim "{name}" not found')
        path = Path(bound["path"])
        if not path.exists() and bound["create"]:
            path.mkdir(parents=True)
            self._hand_over(path)
        if not path.is_dir():
            raise volume_content.VolumeProblem(f"{path}, the folder of claim {name}, does not exist")
        self._claimed[volume["name"]] = bound

    def _hand_over(self, path: Path) -> None:
        path.chmod(0o777)
        if self._owner is not None:
            os.chown(path, *self._owner)

    def over_limit(self, pod: Object) -> str:
        """The kubelet's sentence about an emptyDir on the disk that has outgrown its `sizeLimit`, or "". Blocking."""
        for volume in pod["spec"].get("volumes") or []:
            if volume["name"] in self._prepared and _limited(volume):
                limit = size_limit(volume["emptyDir"])
                if folders.used_bytes(self._path(volume)) > limit:
                    shown = volume["emptyDir"]["sizeLimit"]
                    return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{shown}".'
        return ""

    def used_bytes(self, pod: Object) -> int:
        """What the pod's emptyDirs take on the disk. Blocking."""
        named = (one for one in pod["spec"].get("volumes") or [] if one["name"] in self._prepared)
        return sum(folders.used_bytes(self._path(one)) for one in named if _on_disk(one))

    def _host_path(self, source: Object) -> None:
        path, kind = Path(source.get("path", "")), source.get("type") or ""
        if kind in ("", "DirectoryOrCreate") and not path.exists():  # "": not looked at, and containerd makes a folder
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
            read_only = bool(mount.get("readOnly")) or self._read_only(volume)
            found.append(runtime.Mount(mount["mountPath"], str(source), read_only=read_only))
        return tuple(sorted(found, key=lambda entry: entry.target))

    def _read_only(self, volume: Object) -> bool:
        claim = volume.get("persistentVolumeClaim") or {}
        return bool(claim.get("readOnly") or self._claimed.get(volume["name"], {}).get("readOnly"))

    def folder_of(self, volume: Object) -> Path:
        """Where that volume is on the host, once it is prepared."""
        if volume.get("hostPath") is not None:
            return Path(volume["hostPath"]["path"])
        if volume["name"] in self._claimed:
            return Path(self._claimed[volume["name"]]["path"])
        return self._path(volume)

    def _source(self, volume: Object, mount: Object, values: Mapping[str, str]) -> Path:
        root = self.folder_of(volume)
        expression = mount.get("subPathExpr") or ""
        if lacking := expand.missing(expression, values):
            raise volume_content.VolumeProblem(f"subPathExpr {expression!r}: missing value for {', '.join(lacking)}")
        below = mount.get("subPath") or expand.expand(expression, values)
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


def references(pod: Object, container: Object) -> set[env.Key]:
    """The ConfigMaps, Secrets, tokens and claims behind the container's mounts."""
    wanted = {mount["name"] for mount in container.get("volumeMounts") or []}
    found: set[env.Key] = set()
    for volume in pod["spec"].get("volumes") or []:
        if volume["name"] in wanted:
            found |= volume_content.references(volume)
            if claim := claims.name_of(pod, volume):
                found.add((claims.KIND, claim))
    return found


def changing(pod: Object) -> set[env.Key]:
    """What the generated volumes are made of: looked at again while the pod runs."""
    generated = [one for one in pod["spec"].get("volumes") or [] if volume_content.is_generated(one)]
    return {key for volume in generated for key in volume_content.references(volume)}


def refresh_seconds(pod: Object) -> float:
    """How often the volumes are looked at again; 0 when nothing in them can change."""
    found = pod["spec"].get("volumes") or []
    if any(_limited(one) for one in found):
        return REFRESH_SECONDS
    generated = [one for one in found if volume_content.is_generated(one)]
    if not generated:
        return 0.0
    own = all(str(one["name"]).startswith(ACCOUNT_PREFIX) for one in generated)
    return SLOW_REFRESH_SECONDS if own else REFRESH_SECONDS


def size_limit(source: Object) -> int:
    """An emptyDir's `sizeLimit` in bytes; 0 without one."""
    return int(quantity.parse(str(source["sizeLimit"]))) if source.get("sizeLimit") else 0


def has_limit(pod: Object) -> bool:
    """Whether any emptyDir of the pod's must be measured."""
    return any(_limited(one) for one in pod["spec"].get("volumes") or [])


def _may_come_later(volume: Object, container: Object) -> bool:
    """The account's three small files, of which no single one is mounted."""
    mounts = [one for one in container.get("volumeMounts") or [] if one["name"] == volume["name"]]
    whole = not any(one.get("subPath") or one.get("subPathExpr") for one in mounts)
    return whole and str(volume["name"]).startswith(ACCOUNT_PREFIX) and volume_content.is_generated(volume)


def _on_disk(volume: Object) -> bool:
    source = volume.get("emptyDir")
    return source is not None and not (source.get("medium") == "Memory" and folders.can_mount())


def _limited(volume: Object) -> bool:
    return _on_disk(volume) and bool(volume["emptyDir"].get("sizeLimit"))


_HOST_PATH_CHECKS = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}
