"""The engine's serde structs have exactly the fields of `routing.table`, under the names that are on the wire."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from fairlead.routing import table

_SOURCES = Path(__file__).parents[2] / "engine" / "src" / "control" / "objects"
# Messages rather than objects: `control/wire.rs` has them.
_MESSAGES = {"Structure", "BackendEndpoints"}


def _python() -> dict[str, set[str]]:
    structs = {
        name: one for name, one in vars(table).items() if isinstance(one, type) and one.__module__ == table.__name__
    }
    return {
        name: {field.encode_name for field in msgspec.structs.fields(one)}
        for name, one in structs.items()
        if issubclass(one, msgspec.Struct) and name not in _MESSAGES
    }


def _rust() -> dict[str, set[str]]:
    text = "\n".join(path.read_text() for path in sorted(_SOURCES.glob("*.rs")))
    found: dict[str, set[str]] = {}
    for name, body in re.findall(r"pub struct (\w+) \{\n(.*?)\n\}", text, re.DOTALL):
        fields = re.findall(r'(?:#\[serde\(rename = "(\w+)"\)\]\s+)?pub (\w+):', body)
        found[name] = {renamed or plain for renamed, plain in fields}
    return found


@pytest.mark.skipif(not _SOURCES.is_dir(), reason="installed without the engine's source")
def test_the_engine_knows_every_field_and_no_other() -> None:
    rust = _rust()
    assert {name: rust.get(name) for name in _python()} == _python()
