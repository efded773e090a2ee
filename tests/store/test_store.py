"""The store: order, expectations, watches, history, what is refused. The check suite runs on every store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.store import log, memory, protocol, restore, sqlite
from fairlead.testing import check_store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[protocol.Store]:
    if request.param == "memory":
        made: protocol.Store = memory.MemoryStore()
    else:
        opened = sqlite.SqliteStore(tmp_path / "store.db")
        await opened.open()
        made = opened
    yield made
    await made.close()


@pytest.mark.parametrize("scenario", check_store.SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_scenarios(store: protocol.Store, scenario: check_store.Scenario) -> None:
    await scenario(store)


async def _opened(path: Path) -> sqlite.SqliteStore:
    store = sqlite.SqliteStore(path)
    await store.open()
    return store


async def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    await asyncio.gather(*(store.write(f"a/{n}", lambda r: str(r).encode(), expected=0) for n in range(50)))
    await store.delete("a/7", lambda r: b"gone")
    await store.compact(store.revision)
    revision = store.revision
    await store.close()
    again = await _opened(tmp_path / "store.db")
    assert again.revision == revision
    assert again.count("a/") == 49 and again.get("a/7") is None
    assert (await again.write("a/7", lambda r: b"new", expected=0)).revision == revision + 1
    await again.close()


async def test_the_journal_of_a_large_compaction_becomes_small_again(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    journal = tmp_path / "store.db-wal"
    large = bytes(1 << 20)
    written = 0
    for _ in range(24):
        written = (await store.write("a/1", lambda r: large, expected=written)).revision
    await store.compact(store.revision)
    biggest = journal.stat().st_size
    assert biggest > 2 * log.JOURNAL_BYTES
    for n in range(2):
        await store.write(f"b/{n}", lambda r: b"small", expected=0)
    assert journal.stat().st_size <= log.JOURNAL_BYTES
    await store.close()


async def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    with pytest.raises(protocol.Refused, match="in use"):
        await _opened(tmp_path / "store.db")
    await store.close()


async def test_a_backup_opens_as_a_store(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    await store.write("a/1", lambda r: b"one")
    await store.backup(tmp_path / "copy.db")
    await store.write("a/2", lambda r: b"two")
    copy = await _opened(tmp_path / "copy.db")
    assert copy.get("a/1") is not None and copy.get("a/2") is None
    await copy.close()
    await store.close()


async def test_damage_is_found_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await _opened(path)
    await store.write("a/1", lambda r: b"the value that will be damaged")
    await store.close()
    path.write_bytes(path.read_bytes().replace(b"the value that will", b"tha value that will"))
    with pytest.raises(protocol.Refused, match="damaged"):
        await _opened(path)


async def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(protocol.Refused, match="not one of fairlead's"):
        await _opened(path)
    (tmp_path / "text.db").write_text("this is no database at all, but long enough to be one " * 40)
    with pytest.raises(protocol.Refused, match="damaged"):
        await _opened(tmp_path / "text.db")


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await (await _opened(path)).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {log.VERSION + 1}")
    db.close()
    with pytest.raises(protocol.Refused, match="newer fairlead"):
        await _opened(path)


async def test_a_backup_is_restored_whole(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    await store.write("a/1", lambda r: b"one")
    await store.backup(tmp_path / "backup.db")
    await store.write("a/2", lambda r: b"two")
    with pytest.raises(protocol.Refused, match="in use"):
        restore.restore(tmp_path / "backup.db", tmp_path / "store.db")
    await store.close()
    old = restore.restore(tmp_path / "backup.db", tmp_path / "store.db")
    assert old is not None and old.exists()
    again = await _opened(tmp_path / "store.db")
    assert again.get("a/1") is not None and again.get("a/2") is None
    await again.close()


async def test_a_damaged_backup_is_refused_and_a_damaged_store_replaced(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    await store.write("a/1", lambda r: b"one")
    await store.backup(tmp_path / "backup.db")
    await store.close()
    (tmp_path / "bad.db").write_bytes((tmp_path / "backup.db").read_bytes()[:2000])
    with pytest.raises(protocol.Refused):
        restore.restore(tmp_path / "bad.db", tmp_path / "store.db")
    (tmp_path / "store.db").write_bytes(b"not a database at all, and long enough to be read as one" * 40)
    restore.restore(tmp_path / "backup.db", tmp_path / "store.db")
    again = await _opened(tmp_path / "store.db")
    assert again.get("a/1") is not None
    await again.close()


async def test_a_restored_store_goes_on_at_a_revision_that_never_was(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    await store.write("a/1", lambda r: b"one")
    await store.backup(tmp_path / "backup.db")
    for _ in range(5):
        await store.write("a/1", lambda r: b"lost")
    known = store.revision
    await store.close()
    restore.restore(tmp_path / "backup.db", tmp_path / "store.db")
    again = await _opened(tmp_path / "store.db")
    assert again.revision > known
    with pytest.raises(protocol.Compacted):
        again.watch("a/", after=known)
    assert again.page("a/").revision == again.revision
    await again.close()


async def test_what_is_replaced_is_kept_under_a_name_of_its_own_each_time(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    await store.backup(tmp_path / "backup.db")
    await store.close()
    kept = [restore.restore(tmp_path / "backup.db", tmp_path / "store.db") for _ in range(3)]
    assert len({path for path in kept if path is not None and path.exists()}) == 3


async def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    (tmp_path / "there").write_text("mine")
    with pytest.raises(protocol.Refused, match="there exists already"):
        await store.backup(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    await store.close()


async def test_writes_go_on_while_a_backup_is_made_and_are_whole_in_it(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "store.db")
    text = b"x" * 20_000
    await asyncio.gather(*(store.write(f"a/{number}", lambda r: text) for number in range(600)))
    saving = asyncio.ensure_future(store.backup(tmp_path / "backup.db"))
    written = 0
    while not saving.done():
        await store.write(f"b/{written}", lambda r: text)
        written += 1
    await saving
    assert written > 1
    await store.close()
    assert log.check(tmp_path / "backup.db") >= 600


async def test_an_empty_file_is_no_backup(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(protocol.Refused, match=r"empty\.db is damaged"):
        restore.restore(tmp_path / "empty.db", tmp_path / "store.db")
    assert not (tmp_path / "store.db").exists()
    with pytest.raises(protocol.Refused, match="does not exist"):
        restore.restore(tmp_path / "none.db", tmp_path / "store.db")
