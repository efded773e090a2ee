"""Objects by schema: which paths they have, and how two of them merge.

Lists are maps by their keys, sets, or atomic as the schema says (`x-kubernetes-list-type`); objects are atomic with
`x-kubernetes-map-type: atomic`. Without a schema objects are granular and lists atomic.
"""

from __future__ import annotations

import json
from typing import Any

from fairlead.api import managed
from fairlead.api.schema import pack

ITEM = object()
"""The value of a path that is a list's element: its membership, not its content."""
_KEY_DEFAULTS = {"protocol": "TCP"}


def _field(schema: pack.Schema, key: str) -> pack.Schema:
    found = (schema.get("properties") or {}).get(key)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def _resolved(schema: pack.Schema) -> pack.Schema:
    """The schema behind a reference, with what stands beside the reference."""
    if "$ref" not in schema:
        return schema
    _, resolved = pack.resolve(schema)
    beside = {key: value for key, value in schema.items() if key.startswith("x-kubernetes")}
    return {**resolved, **beside} if beside else resolved


def list_kind(schema: pack.Schema) -> str:
    """`map`, `set` or `atomic`."""
    kind = schema.get("x-kubernetes-list-type")
    if kind in ("map", "set"):
        return str(kind)
    if (
        kind is None
        and schema.get("x-kubernetes-patch-strategy") == "merge"
        and not schema.get("x-kubernetes-patch-merge-key")
    ):
        return "set"
    return "atomic"


def key_of(item: Any, keys: list[str]) -> str | None:
    """The path element of a keyed item; None when it has no keys."""
    if not isinstance(item, dict):
        return None
    values = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in keys}
    found = {key: value for key, value in values.items() if value is not None}
    return "k:" + json.dumps(found, sort_keys=True, separators=(",", ":")) if found else None


def value_element(value: Any) -> str:
    """The path element of a set's member."""
    return "v:" + json.dumps(value, separators=(",", ":"))


def leaves(value: Any, schema: pack.Schema) -> dict[managed.Path, Any]:
    """Path -> value of every leaf; elements of keyed lists are there too, with ITEM."""
    found: dict[managed.Path, Any] = {}
    _leaves(value, schema, (), found)
    return found


def _leaves(value: Any, schema: pack.Schema, path: managed.Path, found: dict[managed.Path, Any]) -> None:
    schema = _resolved(schema)
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        for key, part in value.items():
            _leaves(part, _field(schema, key), (*path, f"f:{key}"), found)
    elif isinstance(value, list) and list_kind(schema) == "map":
        keys = schema.get("x-kubernetes-list-map-keys") or []
        for item in value:
            element = key_of(item, keys)
            if element is not None:
                found[(*path, element)] = ITEM
                _leaves(item, schema.get("items") or {}, (*path, element), found)
    elif isinstance(value, list) and list_kind(schema) == "set":
        for item in value:
            found[(*path, value_element(item))] = item
    elif path:
        found[path] = value


def named(schema: pack.Schema, path: managed.Path) -> list[bool]:
    """For each element of a path whether it is a field that the schema names, not a map's key or a list's element."""
    found = []
    for element in path:
        schema = _resolved(schema)
        if element.startswith("f:"):
            found.append(element[2:] in (schema.get("properties") or {}))
            schema = _field(schema, element[2:])
        else:
            found.append(False)
            schema = schema.get("items") or {}
    return found


def merge(live: Any, applied: Any, schema: pack.Schema) -> Any:
    """The live value with everything that was applied."""
    schema = _resolved(schema)
    if isinstance(applied, dict) and isinstance(live, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        result = dict(live)
        for key, part in applied.items():
            result[key] = merge(live[key], part, _field(schema, key)) if key in live else part
        return result
    if isinstance(applied, list) and isinstance(live, list):
        kind = list_kind(schema)
        if kind == "set":
            return live + [item for item in applied if item not in live]
        if kind == "map":
            return _merge_keyed(live, applied, schema)
    return applied


def _merge_keyed(live: list[Any], applied: list[Any], schema: pack.Schema) -> list[Any]:
    keys, items = schema.get("x-kubernetes-list-map-keys") or [], schema.get("items") or {}
    before = {key_of(item, keys): item for item in live}
    wanted = {key_of(item, keys): item for item in applied}
    merged = {key: merge(before[key], item, items) if key in before else item for key, item in wanted.items()}
    if set(before) <= set(wanted):
        return list(merged.values())
    result = [merged.pop(key, item) for key, item in before.items()]
    return result + list(merged.values())


def remove(value: Any, paths: set[managed.Path], schema: pack.Schema) -> Any:
    """The value without those paths; what becomes empty by that goes too."""
    if not paths:
        return value
    schema = _resolved(schema)
    by_element: dict[str, set[managed.Path]] = {}
    for path in paths:
        by_element.setdefault(path[0], set()).add(path[1:])
    if isinstance(value, dict):
        return _remove_fields(value, by_element, schema)
    if isinstance(value, list):
        return _remove_items(value, by_element, schema)
    return value


def _remove_fields(value: dict[str, Any], by_element: dict[str, set[managed.Path]], schema: pack.Schema) -> Any:
    result = {}
    for key, part in value.items():
        rest = by_element.get(f"f:{key}")
        if rest is None:
            result[key] = part
        elif () not in rest:
            left = remove(part, rest, _field(schema, key))
            if left not in ({}, []):
                result[key] = left
    return result


def _remove_items(value: list[Any], by_element: dict[str, set[managed.Path]], schema: pack.Schema) -> list[Any]:
    keys, keyed = schema.get("x-kubernetes-list-map-keys") or [], list_kind(schema) == "map"
    result = []
    for item in value:
        element = key_of(item, keys) if keyed else value_element(item)
        rest = by_element.get(element or "")
        if rest is None:
            result.append(item)
        elif () not in rest:
            result.append(remove(item, rest, schema.get("items") or {}))
    return result
