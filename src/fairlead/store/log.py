"""The append-only log in SQLite: one row per revision, each with a checksum. Synchronous; lives on the writer's thread.

WAL with synchronous=FULL: a commit has been fsynced when it returns. The file is held exclusively, so a second
process is refused. A row is never changed; compaction deletes rows that a newer row of the same key replaces.
Refused at opening: a file of a newer version, one that is no store, one whose rows do not match their checksums.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.store import protocol

APPLICATION_ID = 0x46414952  # "FAIR"
VERSION = 1
ROWS_AT_ONCE = 256
BACKUP_PAGES = 512
JOURNAL_BYTES = 8 << 20  # what stays of a journal that one compaction has made larger
RECENT = 4096
"""How many changes are read back into the window of history."""

_SCHEMA = """
CREATE TABLE log (
  revision INTEGER PRIMARY KEY, key TEXT NOT NULL, deleted INTEGER NOT NULL, created INTEGER NOT NULL,
  previous INTEGER NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted', 0), ('revision', 0);
"""

_MIGRATIONS: dict[int, str] = {}
"""Version -> the statements that make it the next version."""


def _checksum(revision: int, key: str, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(f"{revision} {key}".encode()))


Row = tuple[int, str, bool, int, int, bytes, int]


def row(event: protocol.Event) -> Row:
    """An event as the log keeps it."""
    entry = event.entry
    previous = event.previous.revision if event.previous else 0
    checksum = _checksum(entry.revision, entry.key, entry.value)
    return (entry.revision, entry.key, event.deleted, entry.created, previous, entry.value, checksum)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file holds. `recent` are the changes after `oldest`, in order."""

    entries: list[protocol.Entry]
    revision: int
    recent: list[protocol.Event]
    oldest: int


class Log:
    """An open file. `synchronous` exists for the test that proves that FULL is needed."""

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        self.path = path
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
        except (sqlite3.OperationalError, OSError) as error:
            raise protocol.Refused(f"{path} cannot be opened: {error}") from error
        try:
            _configure(self._db, synchronous)
            _prepare(self._db, path)
            sync_folder(path.parent)
        except BaseException as error:
            self._db.close()
            if not isinstance(error, sqlite3.DatabaseError):
                raise
            if not isinstance(error, sqlite3.OperationalError):
                raise _damaged(path, str(error)) from error
            if "locked" in str(error):
                raise protocol.Refused(f"{path} is in use by another process") from error
            raise protocol.Refused(f"{path} cannot be opened: {error}") from error

    def load(self) -> Loaded:
        """The newest entry of every key, the newest revision, and the last changes."""
        entries: dict[str, protocol.Entry] = {}
        recent: list[protocol.Event] = []
        revision = 0
        try:
            numbers = dict(self._db.execute("SELECT name, number FROM meta"))
            newest = self._db.execute("SELECT max(revision) FROM log").fetchone()[0] or 0
            start = max(numbers["compacted"], newest - RECENT)
            rows = self._db.execute(
                "SELECT revision, key, deleted, created, value, checksum FROM log ORDER BY revision"
            )
            for revision, key, deleted, created, value, checksum in rows:
                if _checksum(revision, key, value) != checksum:
                    raise _damaged(self.path, f"revision {revision} does not match its checksum")
                entry = protocol.Entry(key, value, revision, created)
                if revision > start:
                    recent.append(protocol.Event(entry, entries.get(key), bool(deleted)))
                if deleted:
                    entries.pop(key, None)
                else:
                    entries[key] = entry
        except sqlite3.DatabaseError as error:
            raise _damaged(self.path, str(error)) from error
        newest = max(revision, numbers["revision"])
        return Loaded(list(entries.values()), newest, recent, start if newest == revision else newest)

    def append(self, rows: Sequence[Row]) -> None:
        """Writes and syncs a batch: all of it or nothing.

        One statement, which is its own transaction, for all but huge batches: every statement gives the interpreter's
        lock away and has to win it back from a busy event loop.
        """
        if len(rows) <= ROWS_AT_ONCE:
            self._insert(rows)
            return
        with self._transaction():
            for start in range(0, len(rows), ROWS_AT_ONCE):
                self._insert(rows[start : start + ROWS_AT_ONCE])

    def _insert(self, rows: Sequence[Row]) -> None:
        places = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * len(rows))
        self._db.execute(f"INSERT INTO log VALUES {places}", [value for row in rows for value in row])  # noqa: S608

    def compact(self, revision: int, *, newest: int) -> None:
        """Deletes what newer rows up to the revision replace. The newest revision is noted, its row may go."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM log WHERE revision IN (SELECT previous FROM log WHERE revision <= ? AND previous > 0)",
                (revision,),
            )
            self._db.execute("DELETE FROM log WHERE deleted = 1 AND revision <= ?", (revision,))
            self._db.execute("UPDATE meta SET number = max(number, ?) WHERE name = 'compacted'", (revision,))
            self._db.execute("UPDATE meta SET number = ? WHERE name = 'revision'", (newest,))

    def backup(self, path: Path, *, between: Callable[[], None] = lambda: None) -> None:
        """A synced copy in a new file; `between` its steps, writes may go on. Raises Refused where there is a file."""
        new_file(path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as target:
            self._db.backup(target, pages=BACKUP_PAGES, progress=lambda *_: between(), sleep=0.001)
        sync_folder(path.parent)

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        try:
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _configure(db: sqlite3.Connection, synchronous: str) -> None:
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA cache_size = -2048")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    application = db.execute("PRAGMA application_id").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise protocol.Refused(f"{path} is an SQLite file, but not one of fairlead's stores")
    if version > VERSION:
        raise protocol.Refused(f"{path} was written by a newer fairlead (store version {version}, known: {VERSION})")
    db.execute("BEGIN EXCLUSIVE")
    if not tables:
        for statement in _SCHEMA.split(";\n"):
            if statement.strip():
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    for known in range(version or VERSION, VERSION):
        db.execute(_MIGRATIONS[known])
        db.execute(f"PRAGMA user_version = {known + 1}")
    db.execute("COMMIT")


def check(path: Path) -> int:
    """The newest revision of a store. Raises Refused unless the file is there and a whole one."""
    if not path.is_file():
        raise protocol.Refused(f"{path} does not exist")
    if not path.stat().st_size:
        raise _damaged(path, "it is empty")
    opened = Log(path)
    try:
        return opened.load().revision
    finally:
        opened.close()


def skip_ahead(path: Path, revision: int) -> None:
    """Makes the next revision of a store one after `revision`, and whatever was before too old to go on from."""
    opened = Log(path)
    try:
        with opened._transaction():
            opened._db.execute("UPDATE meta SET number = max(number, ?) WHERE name = 'revision'", (revision,))
    finally:
        opened.close()


def new_file(path: Path) -> None:
    """Makes an empty file that only its owner may read. Raises Refused where there is one."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise protocol.Refused(f"{path} exists already; nothing is overwritten") from None
    except OSError as error:
        raise protocol.Refused(f"{path} cannot be written: {error.strerror}") from None


def sync_folder(folder: Path) -> None:
    """Makes the names of new files and the absence of removed ones durable: a journal that came back would undo."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, detail: str) -> protocol.Refused:
    return protocol.Refused(f"{path} is damaged ({detail}); restore a backup with `fairlead restore`")
