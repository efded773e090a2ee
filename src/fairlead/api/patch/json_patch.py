"""JSON patch (RFC 6902) with JSON pointers (RFC 6901): add, remove, replace, move, copy, test; all or nothing.

At most 10,000 operations, as Kubernetes allows.
"""

from __future__ import annotations

import copy
from typing import Any

from fairlead.api import patch as patches

MAX_OPERATIONS = 10_000


def apply(target: Any, operations: Any) -> Any:
    """The patched copy. Raises PatchError and PatchTestFailed."""
    if not isinstance(operations, list):
        raise patches.PatchError("a JSON patch must be an array of operations")
    if len(operations) > MAX_OPERATIONS:
        raise patches.PatchError(f"the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}")
    result = copy.deepcopy(target)
    for index, operation in enumerate(operations):
        if not isinstance(operation, dict) or not isinstance(operation.get("op"), str):
            raise patches.PatchError(f"operation {index} has no op")
        try:
            result = _apply_one(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            if isinstance(error, patches.PatchError):
                raise
            where = operation.get("path", "")
            raise patches.PatchError(f"operation {index} ({operation['op']} {where}): no such path") from error
    return result


def _apply_one(document: Any, operation: dict[str, Any]) -> Any:
    op, path = operation["op"], _pointer(operation.get("path"))
    if op == "test":
        if _get(document, path) != operation.get("value"):
            raise patches.PatchTestFailed(f"testing value {operation.get('path')} failed")
        return document
    if op == "add":
        return _add(document, path, _value(operation))
    if op == "remove":
        return _remove(document, path)
    if op == "replace":
        _get(document, path)
        return _replace(document, path, _value(operation))
    if op in ("move", "copy"):
        source = _pointer(operation.get("from"))
        value = copy.deepcopy(_get(document, source))
        if op == "move":
            if path[: len(source)] == source and path != source:
                raise patches.PatchError(f"cannot move {operation.get('from')} into itself")
            document = _remove(document, source)
        return _add(document, path, value)
    raise patches.PatchError(f"unexpected kind: {op}")


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise patches.PatchError(f"{operation['op']} {operation.get('path')}: value is missing")
    return copy.deepcopy(operation["value"])


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise patches.PatchError(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(array: list[Any], part: str, *, end: int) -> int:
    if not part.isdecimal() or (len(part) > 1 and part[0] == "0") or int(part) > end:
        raise IndexError(part)
    return int(part)


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, list):
            document = document[_index(document, part, end=len(document) - 1)]
        elif isinstance(document, dict):
            document = document[part]
        else:
            raise KeyError(part)
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        at = len(parent) if path[-1] == "-" else _index(parent, path[-1], end=len(parent))
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise KeyError(path[-1])
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise patches.PatchError("the whole document cannot be removed")
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        del parent[_index(parent, path[-1], end=len(parent) - 1)]
    else:
        del parent[path[-1]]
    return document


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent[_index(parent, path[-1], end=len(parent) - 1)] = value
    else:
        parent[path[-1]] = value
    return document
