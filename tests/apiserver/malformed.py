"""Objects that are wrong in one place, made from the schemas: every field of every kind with values it cannot have."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fairlead.api import kinds
from fairlead.api.schema import pack

from . import samples

DEPTH = 7
PER_KIND = 90
_WRONG: dict[str, tuple[Any, ...]] = {
    "string": (7, ["x"], {"x": 1}),
    "integer": ("x", 1.5, 2**70),
    "number": ("x", [1]),
    "boolean": ("yes", 1),
    "array": ("x", {"a": 1}),
    "object": ("x", [1]),
    "": ([1], {"a": 1}),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One wrong object. `field` is the last part of the path to what is wrong."""

    kind: kinds.Kind
    path: tuple[str, ...]
    body: dict[str, Any]

    @property
    def field(self) -> str:
        return next(part for part in reversed(self.path) if part != "[]")


def _fields(schema: pack.Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], pack.Schema]]:
    name, schema = pack.resolve(schema)
    if len(path) > DEPTH or name.endswith(("JSONSchemaProps", "ManagedFieldsEntry")):
        return
    if schema.get("type") == "array":
        yield from _fields(schema.get("items") or {}, (*path, "[]"))
    for key, part in (schema.get("properties") or {}).items():
        _, resolved = pack.resolve(part)
        if (*path, key) not in (("apiVersion",), ("kind",)):
            yield (*path, key), resolved
            yield from _fields(part, (*path, key))


def _place(body: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy of the body with the value at the path; what is missing on the way is made."""
    if not path:
        return value
    if path[0] == "[]":
        items = list(body) if isinstance(body, list) and body else [{}]
        items[0] = _place(items[0], path[1:], value)
        return items
    result = dict(body) if isinstance(body, dict) else {}
    result[path[0]] = _place(result.get(path[0]), path[1:], value)
    return result


def cases() -> Iterator[Case]:
    """All of them, always the same."""
    for kind in kinds.KINDS:
        base = samples.sample(kind)
        schema = pack.definitions()[pack.definition_of(kind.group, kind.version, kind.kind)]
        found = list(_fields(schema, ()))
        step = max(1, len(found) // PER_KIND)
        for number, (path, part) in enumerate(found[::step]):
            values = _WRONG[part.get("type", "")]
            value = values[number % len(values)]
            if not part.get("type") and not part.get("oneOf"):
                continue  # anything goes there
            yield Case(kind, path, _place(copy.deepcopy(base), path, value))
            if part.get("type") == "object" and part.get("properties"):
                yield Case(kind, (*path, "noSuchField"), _place(copy.deepcopy(base), (*path, "noSuchField"), 1))
