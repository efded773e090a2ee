"""Defaulting: what a structural schema's `default`s fill in, in objects that are there. Nulls that may not be are
dropped."""

from __future__ import annotations

import copy
from typing import Any

Schema = dict[str, Any]


def fill(value: Any, schema: Schema) -> None:
    """Fills in place."""
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for part in value:
                fill(part, items)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for key, inner in properties.items():
        if value.get(key) is None and key in value and not inner.get("nullable"):
            del value[key]  # as if it had not been given
        if key not in value and "default" in inner:
            value[key] = copy.deepcopy(inner["default"])
        if key in value:
            fill(value[key], inner)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key, part in value.items():
            if key not in properties:
                fill(part, extra)
