"""A cluster's store into a file and back.

A backup holds every object, Secrets included, and nothing else of the state folder: certificates, the administrator's
token and the pods' own files stay where they are. It can be made of a cluster that runs and of one that does not.
Refused: a file that is there already; for a restore, a running cluster, a damaged file and one of a newer version.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from fairlead.cluster import state
from fairlead.store import log, protocol, restore


class BackupError(Exception):
    """It was not done; the message says why."""


async def save(stream: AsyncIterator[bytes], target: Path) -> None:
    """Writes what a running cluster sends. Raises BackupError; then there is no file."""
    draft = _draft(target)
    try:
        with draft.open("r+b") as file:
            async for piece in stream:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        _finish(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def save_stopped(folder: state.StateFolder, target: Path) -> None:
    """The same of a cluster that does not run. Raises BackupError, StateBusy."""
    if not folder.store.exists():
        raise BackupError(f"cluster {folder.name!r} has no store ({folder.store}): it was never started here")
    draft = _draft(target)
    draft.unlink()
    lock = state.Lock(folder)
    try:
        opened = log.Log(folder.store)
        try:
            opened.backup(draft)
        finally:
            opened.close()
        _finish(draft, target)
    except protocol.Refused as error:
        raise BackupError(str(error)) from error
    finally:
        draft.unlink(missing_ok=True)
        lock.release()


def put_back(folder: state.StateFolder, source: Path) -> Path | None:
    """Restores; returns where the replaced store is (None: there was none). Raises BackupError, StateError."""
    folder.create()
    lock = state.Lock(folder)
    try:
        return restore.restore(source, folder.store)
    except (protocol.Refused, OSError) as error:
        raise BackupError(str(error)) from error
    finally:
        lock.release()


def refuse_existing(target: Path) -> None:
    """Raises BackupError where there is a file: better before the work than after it."""
    if target.exists():
        raise BackupError(f"{target} exists already; nothing is overwritten")


def _draft(target: Path) -> Path:
    refuse_existing(target)
    draft = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        log.new_file(draft)
    except protocol.Refused as error:
        raise BackupError(str(error)) from error
    return draft


def _finish(draft: Path, target: Path) -> None:
    """Gives a whole backup its name."""
    try:
        log.check(draft)
    except protocol.Refused as error:
        raise BackupError(f"the copy did not arrive whole: {error}") from error
    try:
        os.link(draft, target)
    except FileExistsError:
        raise BackupError(f"{target} exists already; nothing is overwritten") from None
    log.sync_folder(target.parent)
