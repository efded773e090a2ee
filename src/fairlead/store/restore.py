"""Puts a backup in a store's place: checked first, swapped in as a whole, the old file kept beside it.

Refused: a backup that does not open as a store, a store that is in use.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fairlead.store import log, protocol


def restore(backup: Path, target: Path) -> Path | None:
    """Returns where the old file was put (None: there was none). Raises Refused."""
    if not backup.exists():
        raise protocol.Refused(f"{backup} does not exist")
    fresh = target.with_name(target.name + ".restoring")
    shutil.copyfile(backup, fresh)
    fresh.chmod(0o600)
    try:
        log.check(fresh)
        if not target.exists():
            fresh.replace(target)
            return None
        log.Log(target).close()  # refuses a file in use; a clean close leaves no write-ahead log beside it
    except protocol.Refused as error:
        if "damaged" not in str(error) or str(fresh) in str(error):
            fresh.unlink(missing_ok=True)
            raise
    old = target.with_name(target.name + ".before-restore")
    for suffix in ("-wal", "-shm", "-journal"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    target.replace(old)
    fresh.replace(target)
    log.sync_folder(target.parent)
    return old
