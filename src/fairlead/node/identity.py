"""As whom a pod's processes run (DESIGN §6.8).

In this order: the container's securityContext, the pod's, the user who asked (`SUDO_UID`), the owner of the folder that
named the command; root only when nothing else is known. Without privilege everything runs as we do.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.base import privilege
from fairlead.node import runtime

Object = dict[str, Any]


class IdentityProblem(Exception):
    """The securityContext asks for what cannot be; the message says what (CreateContainerConfigError)."""


def asked_by(environ: Mapping[str, str], folder: Path | None) -> runtime.Credentials:
    """The default user of a cluster's pods: who used sudo, else the owner of the manifests' folder."""
    if not privilege.is_root():
        return runtime.Credentials()
    if environ.get("SUDO_UID", "").isdigit() and environ["SUDO_UID"] != "0":
        return of_user(int(environ["SUDO_UID"]), int(environ.get("SUDO_GID") or environ["SUDO_UID"]))
    if folder is not None:
        owner = folder.stat()
        return of_user(owner.st_uid, owner.st_gid)
    return of_user(0, 0)


def of_user(uid: int, gid: int) -> runtime.Credentials:
    """That user with the groups that the system's database gives it."""
    return _of_user(uid, gid, _database())


@functools.lru_cache(maxsize=64)
def _of_user(uid: int, gid: int, database: tuple[int, ...]) -> runtime.Credentials:
    entry = _entry(uid, database)
    if entry is None:
        return runtime.Credentials(uid, gid)
    return runtime.Credentials(uid, gid, tuple(sorted(set(os.getgrouplist(entry.pw_name, gid)) - {gid})))


@functools.lru_cache(maxsize=64)
def _entry(uid: int, database: tuple[int, ...]) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _database() -> tuple[int, ...]:
    """The version of the system's database of users: of its files, and of this second, for what other sources say."""
    return (_version("/etc/passwd"), _version("/etc/group"), int(time.monotonic()))


def _version(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116 - asked for each container
    except OSError:
        return 0


def home(credentials: runtime.Credentials) -> tuple[str, str]:
    """That user's home folder and name."""
    uid = privilege.real_uid() if credentials.uid is None else credentials.uid
    entry = _entry(uid, _database())
    return (entry.pw_dir, entry.pw_name) if entry is not None else ("/", str(uid))


def resolve(
    pod: Object,
    container: Object,
    *,
    asked: runtime.Credentials,
    owner: tuple[int, int] | None,
    has_images: bool = False,
) -> runtime.Credentials:
    """As whom this container runs. Raises IdentityProblem."""
    pod_context = pod["spec"].get("securityContext") or {}
    context = {**pod_context, **(container.get("securityContext") or {})}
    base = asked
    if asked.uid in (None, 0) and owner is not None and asked.uid is not None:
        base = of_user(*owner)
    uid, gid = context.get("runAsUser", base.uid), context.get("runAsGroup")
    may_switch = has_images or privilege.is_root()
    if not may_switch and uid not in (None, privilege.real_uid()):
        raise IdentityProblem(f"runAsUser {uid} needs privilege that fairlead does not have here; run it as root")
    if context.get("runAsNonRoot") and (uid == 0 or (uid is None and privilege.real_uid() == 0 and not has_images)):
        raise IdentityProblem(
            "container has runAsNonRoot and would run as root; set runAsUser or start fairlead as a user"
        )
    groups = set(base.groups if uid == base.uid else ())
    groups |= set(pod_context.get("supplementalGroups") or ())
    if pod_context.get("fsGroup") is not None:
        groups.add(pod_context["fsGroup"])
    if gid is None:
        gid = base.gid if uid == base.uid else (_primary_group(uid) if uid is not None else None)
    return runtime.Credentials(uid, gid, tuple(sorted(groups))) if may_switch else runtime.Credentials()


def _primary_group(uid: int) -> int:
    entry = _entry(uid, _database())
    return entry.pw_gid if entry is not None else uid


def group_names(gids: tuple[int, ...]) -> list[str]:
    """For messages."""
    names = []
    for gid in gids:
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            names.append(str(gid))
    return names
