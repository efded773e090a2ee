"""Pruning: fields that a structural schema does not know are dropped, unless it says `preserve-unknown-fields`."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
_TYPE_FIELDS = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Schema, unknown: list[str], *, path: str = "", root: bool = False) -> Any:
    """The value without unknown fields, whose paths are added to `unknown`; a new value where something is dropped."""
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, dict):
            return value
        return [prune(part, items, unknown, path=f"{path}[{index}]") for index, part in enumerate(value)]
    if not isinstance(value, dict):
        return value
    preserve = schema.get(PRESERVE) is True
    embedded = root or schema.get(EMBEDDED) is True
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    result = {}
    for key, part in value.items():
        where = f"{path}.{key}" if path else key
        if embedded and key in _TYPE_FIELDS:
            result[key] = part
        elif key in properties:
            result[key] = prune(part, properties[key], unknown, path=where)
        elif isinstance(extra, dict):
            result[key] = prune(part, extra, unknown, path=where)
        elif extra is True or preserve:
            result[key] = part
        else:
            unknown.append(where)
    return result
