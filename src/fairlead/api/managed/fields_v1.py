"""FieldsV1, the JSON form of a field set: nested objects, "." for an element that is itself a member."""

from __future__ import annotations

from typing import Any

from fairlead.api import managed


def encode(fields: managed.FieldSet) -> dict[str, Any]:
    """The nested form."""
    root: dict[str, Any] = {}
    for path in sorted(fields):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = None  # a marker, resolved below
    return _resolve(root)


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    children = {key: _resolve(child) for key, child in node.items() if key != "."}
    return {".": {}, **children} if "." in node and children else children


def decode(nested: Any) -> managed.FieldSet:
    """The set. Elements that no spelling has are ignored."""
    found: set[managed.Path] = set()
    _walk(nested, (), found)
    return frozenset(found)


def _walk(node: Any, path: managed.Path, found: set[managed.Path]) -> None:
    if not isinstance(node, dict):
        return
    children = [key for key in node if key != "." and key[:2] in ("f:", "k:", "v:", "i:")]
    if path and (not children or "." in node):
        found.add(path)
    for key in children:
        _walk(node[key], (*path, key), found)
