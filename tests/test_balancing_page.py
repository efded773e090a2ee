"""docs/balancing.md names only tests of the engine that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_the_page_names_exists():
    page = (ROOT / "docs" / "balancing.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "engine" / "src").rglob("*.rs"))
    named = set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", page))
    there = set(re.findall(r"#\[test\]\s*fn ([a-z0-9_]+)\(", sources))
    assert len(named) > 50
    assert named - there == set()
