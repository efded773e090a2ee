"""Plain data into the table's structs, with nothing silently ignored: an unknown field is a mistake with its path.

msgspec ignores unknown fields (as the wire wants); what a person writes in a file must not be ignored.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")


def convert(data: Any, kind: type[T], *, path: str) -> tuple[T | None, list[tuple[str, str]]]:
    """The struct, or None with (field path, message) of every mistake."""
    mistakes = unknown(data, inspect.type_info(kind), path)
    try:
        found = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        if message.startswith("Invalid enum value"):
            message += _words(inspect.type_info(kind), where.rstrip("`").split(".")[1:])
        mistakes.append((path + where.rstrip("`"), message))
        return None, mistakes
    return (None if mistakes else found), mistakes


def _words(info: inspect.Type, fields: list[str]) -> str:
    """The words that may stand at that place."""
    if isinstance(info, inspect.UnionType):
        info = next(one for one in info.types if not isinstance(one, inspect.NoneType))
    if isinstance(info, inspect.VarTupleType):
        return _words(info.item_type, fields)
    if isinstance(info, inspect.LiteralType):
        return f"; known are {', '.join(str(one) for one in info.values if one != '')}"
    if isinstance(info, inspect.StructType) and fields:
        field = next((one for one in info.fields if one.encode_name == fields[0].partition("[")[0]), None)
        return _words(field.type, fields[1:]) if field is not None else ""
    return ""


def unknown(data: Any, info: inspect.Type, path: str) -> list[tuple[str, str]]:
    """The fields of `data` that its type does not have, at any depth."""
    if isinstance(info, inspect.UnionType):
        structs = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        return unknown(data, structs[0], path) if len(structs) == 1 else []
    if isinstance(info, inspect.StructType) and isinstance(data, dict):
        known = {field.encode_name: field.type for field in info.fields}
        found = [(f"{path}.{key}", f"unknown field; known are {', '.join(known)}") for key in data if key not in known]
        for key, value in data.items():
            if key in known:
                found += unknown(value, known[key], f"{path}.{key}")
        return found
    if isinstance(info, inspect.VarTupleType) and isinstance(data, list):
        return [one for index, item in enumerate(data) for one in unknown(item, info.item_type, f"{path}[{index}]")]
    return []
