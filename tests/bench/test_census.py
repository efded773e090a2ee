"""What counts as growth between two rests of a cluster."""

import sqlite3
from pathlib import Path

from bench import census


def test_of_a_store_what_is_in_use_is_told_from_what_is_free(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    made = sqlite3.connect(file)
    made.execute("CREATE TABLE t (v BLOB)")
    made.execute("INSERT INTO t VALUES (?)", (bytes(1 << 20),))
    made.commit()
    before, free = census.store_bytes(file)
    assert before > 1 << 20 and free == 0
    made.execute("DELETE FROM t")
    made.commit()
    made.close()
    after, free = census.store_bytes(file)
    assert after < 1 << 16 and after + free == before


def test_what_is_free_in_a_store_may_grow() -> None:
    assert not census.grew("store_free_mb", 0, 1, 30)
    assert census.grew("store_mb", 1, 2, 30)


def test_what_is_counted_must_be_what_it_was() -> None:
    assert census.grew("links", 7, 7, 8)
    assert not census.grew("links", 8, 7, 8)


def test_memory_is_compared_since_the_last_start_of_fairlead() -> None:
    assert census.grew("fairlead_memory_mb", 60, 70, 90)
    assert not census.grew("fairlead_memory_mb", 60, 70, 80)


def test_logs_are_bounded_by_themselves() -> None:
    assert not census.grew("log_mb", 0.1, 1.0, 30.0)
