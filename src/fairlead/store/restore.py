"""Puts a backup in a store's place: checked first, swapped in as a whole, the old file kept beside it.

Refused: a backup that does not open as a store, a store that is in use. The restored store goes on at a revision that
was never before, so that a client that remembers one of the replaced store's lists again instead of missing changes.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from fairlead.store import log, protocol

SKIPPED = 1_000_000
"""How far the revision goes ahead when the replaced store cannot say where it was."""


def restore(backup: Path, target: Path) -> Path | None:
    """Returns where the old file was put (None: there was none). Raises Refused."""
    if not backup.is_file():
        raise protocol.Refused(f"{backup} does not exist or is no file")
    fresh = target.with_name(target.name + ".restoring")
    _remove(fresh)
    try:
        shutil.copyfile(backup, fresh)
        fresh.chmod(0o600)
        try:
            own = log.check(fresh)
        except protocol.Refused as error:
            raise protocol.Refused(str(error).replace(str(fresh), str(backup)).partition("; restore")[0]) from error
        log.skip_ahead(fresh, max(own, _newest(target, own)) + 1)
    except BaseException:
        _remove(fresh)
        raise
    old = _set_aside(target)
    fresh.replace(target)
    log.sync_folder(target.parent)
    return old


def _newest(target: Path, own: int) -> int:
    """The revision of the store that is replaced. Raises Refused when it is in use."""
    if not target.exists():
        return own + SKIPPED
    try:
        return log.check(target)
    except protocol.Refused as error:
        if "in use" in str(error):
            raise
        return own + SKIPPED  # damaged: a backup is what helps


def _set_aside(target: Path) -> Path | None:
    if not target.exists():
        return None
    names = (f"{target.name}.before-restore{f'-{number}' if number else ''}" for number in itertools.count())
    old = next(path for path in map(target.with_name, names) if not path.exists())
    target.replace(old)
    for suffix in ("-wal", "-shm", "-journal"):  # of a damaged store: they would be taken for the new one's
        beside = Path(f"{target}{suffix}")
        if beside.exists():
            beside.replace(f"{old}{suffix}")
    return old


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
