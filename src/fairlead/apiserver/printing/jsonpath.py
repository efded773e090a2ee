"""The JSONPath that printer columns use: fields, indexes, wildcards and `[?(@.type=="Ready")]` filters.

Anything else finds nothing. Follows k8s.io/client-go `util/jsonpath` for these forms.
"""

from __future__ import annotations

import json
import re
from typing import Any

_STEP = re.compile(
    r"\.(?P<field>(?:[^.\[\]\\]|\\.)+)|\[(?P<index>-?\d+)\]|\[(?P<all>\*)\]|\[['\"](?P<quoted>[^'\"]+)['\"]\]"
    r"|\[\?\(@\.(?P<key>[\w.\-]+)\s*(?P<sign>==|!=)\s*(?P<literal>\"[^\"]*\"|'[^']*'|[\w.\-]+)\)\]"
)


def find(obj: Any, path: str) -> list[Any]:
    """The values at a path."""
    found, at = [obj], 0
    text = path.strip("{}")
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return []
        at = step.end()
        found = [value for current in found for value in _step(current, step)]
    return found


def _step(value: Any, step: re.Match[str]) -> list[Any]:
    name = (step["field"] or "").replace("\\", "") or step["quoted"]
    if name and name != "*":
        return [value[name]] if isinstance(value, dict) and name in value else []
    if step["index"] is not None:
        index = int(step["index"])
        return [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []
    if step["key"]:
        return [item for item in value if _holds(item, step)] if isinstance(value, list) else []
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


def _holds(item: Any, step: re.Match[str]) -> bool:
    for part in step["key"].split("."):
        item = item.get(part) if isinstance(item, dict) else None
    literal = step["literal"].strip("\"'")
    shown = text(item) if item is not None else None
    return (shown == literal) is (step["sign"] == "==")


def text(value: Any) -> str:
    """A value as the column shows it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
