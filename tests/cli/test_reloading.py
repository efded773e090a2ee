"""`fairlead run --reload`: what counts as a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead.cli import reloading


@pytest.mark.parametrize("name", ["app.py", "web/page.html", "data.json", "text", "logging.py", "gone.py"])
def test_sources_count(tmp_path: Path, name: str) -> None:
    assert not reloading.Excluded(tmp_path, ())(str(tmp_path / name))


@pytest.mark.parametrize(
    "name", ["app.log", "logs/web.log.1", "app.db", "app.db-wal", "shop.sqlite3", "nohup.out", "x.pid"]
)
def test_what_programs_write_does_not(tmp_path: Path, name: str) -> None:
    assert reloading.Excluded(tmp_path, ())(str(tmp_path / name))


def test_more_is_left_out_by_name_or_by_path_below_the_folder(tmp_path: Path) -> None:
    excluded = reloading.Excluded(tmp_path, ("*.csv", "uploads/*"))
    left_out = [name for name in ("a/b.csv", "uploads/cat.png", "cat.png") if excluded(str(tmp_path / name))]
    assert left_out == ["a/b.csv", "uploads/cat.png"]


def test_our_own_output_is_no_change_of_the_application(tmp_path: Path) -> None:

    with (tmp_path / "output.txt").open("w") as output:
        kept = os.dup(1)
        try:
            os.dup2(output.fileno(), 1)
            excluded = reloading.Excluded(tmp_path, ())
        finally:
            os.dup2(kept, 1)
            os.close(kept)
    assert excluded(str(tmp_path / "output.txt"))
