"""docs/conformance.md names only tests that exist, and only rows that are in the table of pods."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_the_page_names_exists():
    page = (ROOT / "docs" / "conformance.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page))
    there = set(re.findall(r"def (test_[a-z0-9_]+)\(", sources))
    assert len(named) > 50
    assert named - there == set()


def test_every_row_that_the_page_names_is_in_the_table():
    page = (ROOT / "docs" / "conformance.md").read_text()
    table = (ROOT / "tests" / "node" / "test_table.py").read_text()
    lists = re.findall(r"((?:`[a-z-]+`(?:, )?)+) \(table\)", page)
    named = {name for one in lists for name in re.findall(r"`([a-z-]+)`", one)}
    there = set(re.findall(r'Row\(\s*"([a-z-]+)"', table))
    assert len(named) > 8
    assert named - there == set()
