"""Warnings of an API server are heard by who asks inside the block, each once, unquoted."""

from __future__ import annotations

from fairlead.client import hearing


def test_warnings_are_heard_inside_only_and_once() -> None:
    said = {"warning": '299 - "a \\"quoted\\" word, and a comma", 299 - "second"'}
    hearing.hear(said)
    with hearing.warnings() as heard:
        hearing.hear(said)
        hearing.hear(said)
        hearing.hear({})
    hearing.hear({"warning": '299 - "late"'})
    assert heard == ['a "quoted" word, and a comma', "second"]
