"""Strategic merge patch: a merge patch whose lists merge by key where the schema says so.

Follows k8s.io/apimachinery `strategicpatch`: `patchStrategy: merge` with `patchMergeKey` (or by value for lists of
scalars), `retainKeys`, and the directives `$patch: replace|delete|merge`, `$deleteFromPrimitiveList/F`,
`$setElementOrder/F`, `$retainKeys`. A kind without a schema is refused by the caller (415).
"""

from __future__ import annotations

from typing import Any

from fairlead.api import patch as patches
from fairlead.api.schema import pack

_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def apply(target: Any, patch: Any, schema: pack.Schema) -> dict[str, Any]:
    """The patched object. Raises PatchError."""
    if not isinstance(patch, dict):
        raise patches.PatchError("a strategic merge patch must be an object")
    result = _merge_object(target, patch, schema)
    return result if result is not None else {}


def _field(schema: pack.Schema, key: str) -> pack.Schema:
    found = (schema.get("properties") or {}).get(key) or schema.get("additionalProperties") or {}
    return found if isinstance(found, dict) else {}


def _merge_object(target: Any, patch: dict[str, Any], schema: pack.Schema) -> dict[str, Any] | None:
    """None: the patch deletes the whole object."""
    schema = pack.resolve(schema)[1]
    directive = patch.get("$patch")
    if directive == "delete":
        return None
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive not in (None, "merge"):
        raise patches.PatchError(f"Unknown patch directive: {directive}")
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        kept = set(patch["$retainKeys"])
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in patch.items():
        if key.startswith(_DELETE):
            _delete_values(result, key[len(_DELETE) :], value)
        elif not key.startswith("$"):
            _merge_field(result, key, value, _field(schema, key))
    for key, order in patch.items():
        if key.startswith(_ORDER):
            field = key[len(_ORDER) :]
            _set_order(result, field, order, _field(schema, field).get("x-kubernetes-patch-merge-key", ""))
    return result


def _merge_field(result: dict[str, Any], key: str, value: Any, schema: pack.Schema) -> None:
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        merged = _merge_object(result.get(key), value, schema)
        if merged is None:
            result.pop(key, None)
        else:
            result[key] = merged
    elif isinstance(value, list):
        result[key] = _merge_list(result.get(key), value, schema)
    else:
        result[key] = value


def _merge_list(target: Any, patch: list[Any], schema: pack.Schema) -> list[Any]:
    strategy = schema.get("x-kubernetes-patch-strategy", "")
    if "merge" not in strategy.split(",") or not isinstance(target, list):
        return _without_directives(patch, schema)
    merge_key = schema.get("x-kubernetes-patch-merge-key", "")
    if not merge_key:
        return target + [value for value in patch if value not in target]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if item.get("$patch") != "replace"]
    result = list(target)
    for item in patch:
        if not isinstance(item, dict):
            raise patches.PatchError(f"expected an object in a list that merges by {merge_key}, found {item!r}")
        if merge_key not in item:
            raise patches.PatchError(f"map: {item} does not contain declared merge key: {merge_key}")
        _merge_item(result, item, merge_key, schema.get("items", {}))
    return result


def _merge_item(result: list[Any], item: dict[str, Any], merge_key: str, schema: pack.Schema) -> None:
    same = [i for i, known in enumerate(result) if isinstance(known, dict) and known.get(merge_key) == item[merge_key]]
    if item.get("$patch") == "delete":
        for index in reversed(same):
            del result[index]
        return
    merged = _merge_object(result[same[0]] if same else None, item, schema)
    if same:
        result[same[0]] = merged
    else:
        result.append(merged)


def _without_directives(patch: list[Any], schema: pack.Schema) -> list[Any]:
    items = schema.get("items", {})
    result = []
    for item in patch:
        if isinstance(item, dict):
            if item.get("$patch") in ("delete", "replace"):
                continue
            result.append(_merge_object(None, item, items))
        else:
            result.append(item)
    return result


def _delete_values(result: dict[str, Any], field: str, values: Any) -> None:
    if isinstance(result.get(field), list) and isinstance(values, list):
        result[field] = [value for value in result[field] if value not in values]


def _set_order(result: dict[str, Any], field: str, order: Any, merge_key: str) -> None:
    """Items named by the order come in that order; the others keep their place relative to their neighbours."""
    items = result.get(field)
    if not isinstance(items, list) or not isinstance(order, list):
        return
    wanted = [entry.get(merge_key) if merge_key and isinstance(entry, dict) else entry for entry in order]

    def place(item: Any) -> Any:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    listed = sorted((item for item in items if place(item) in wanted), key=lambda item: wanted.index(place(item)))
    others = [item for item in items if place(item) not in wanted]
    result[field] = _interleave(items, listed, others)


def _interleave(original: list[Any], listed: list[Any], others: list[Any]) -> list[Any]:
    result: list[Any] = []
    position = {id(item): index for index, item in enumerate(original)}
    waiting = list(others)
    for item in listed:
        while waiting and position[id(waiting[0])] < position[id(item)]:
            result.append(waiting.pop(0))
        result.append(item)
    return result + waiting
