"""Compiled checks of an object's shape: is it exactly what its schema says, with nothing to drop and nothing to refuse?

`compile_shape` makes closures that answer in microseconds for a good object, which is nearly every object; `clean`
walks the few others, drops what Go's decoder would drop (unknown fields, nulls), and says what it would refuse, in
its words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.schema import pack

Check = Callable[[Any], bool]

_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_TIME = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
_BASE64 = re.compile(r"^(?:[A-Za-z0-9+/\r\n]{4})*(?:[A-Za-z0-9+/\r\n]{2}==|[A-Za-z0-9+/\r\n]{3}=)?[\r\n]*$")


class ShapeError(ValueError):
    """The object cannot be decoded; the message is Go's decoder's."""


@dataclass(slots=True)
class Report:
    """What `clean` found. `unknown` are paths of fields that the schema does not have."""

    unknown: list[str] = field(default_factory=list)


class Shapes:
    """The compiled checks of one set of definitions; compiled when first asked for."""

    def __init__(self) -> None:
        self._compiled: dict[str, Check] = {}

    def check(self, definition: str) -> Check:
        """The check of a definition."""
        found = self._compiled.get(definition)
        if found is None:
            found = self._definition(definition)
        return found

    def _definition(self, name: str) -> Check:
        fields: dict[str, Check] = {}
        schema = pack.definitions()[name]
        properties = schema.get("properties")
        if properties is None:
            check = self._compiled[name] = self._inline(schema)
            return check
        check = self._compiled[name] = _object_check(fields)
        fields.update({key: self._inline(part) for key, part in properties.items()})
        return check

    def _inline(self, schema: pack.Schema) -> Check:
        name, _ = pack.resolve(schema)
        if name:
            return self.check(name)
        kind = schema.get("type")
        if kind == "array":
            return _array_check(self._inline(schema.get("items", {})))
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return _map_check(self._inline(schema["additionalProperties"]))
        if kind == "object" and "properties" in schema:
            return _object_check({key: self._inline(part) for key, part in schema["properties"].items()})
        return _scalar_check(schema)


def _object_check(fields: dict[str, Check]) -> Check:
    get = fields.get

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for key, part in value.items():
            inner = get(key)
            if inner is None or not inner(part):
                return False
        return True

    return check


def _array_check(item: Check) -> Check:
    def check(value: Any) -> bool:
        if type(value) is not list:
            return False
        for part in value:  # noqa: SIM110 -- a generator costs twice as much
            if not item(part):
                return False
        return True

    return check


def _map_check(item: Check) -> Check:
    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for part in value.values():  # noqa: SIM110 -- a generator costs twice as much
            if not item(part):
                return False
        return True

    return check


def _scalar_check(schema: pack.Schema) -> Check:
    kind = schema.get("type")
    if kind == "string":
        if schema.get("format") == "date-time":
            return lambda value: type(value) is str and _TIME.match(value) is not None
        if schema.get("format") == "byte":
            return lambda value: type(value) is str and _BASE64.match(value) is not None
        return lambda value: type(value) is str
    if kind == "boolean":
        return lambda value: type(value) is bool
    if kind == "integer":
        low, high = _INTEGERS[schema.get("format", "int64")]
        return lambda value: type(value) is int and low <= value <= high
    if kind == "number":
        return lambda value: type(value) in (int, float)
    if kind == "object":
        return lambda value: type(value) is dict
    if "oneOf" in schema and any(part.get("type") == "integer" for part in schema["oneOf"]):
        return lambda value: type(value) in (str, int)
    if "oneOf" in schema:
        return lambda value: type(value) in (str, int, float)
    return lambda value: value is not None


shapes = Shapes()


def clean(value: Any, schema: pack.Schema, report: Report, *, path: str = "", owner: str = "") -> Any:
    """The value without nulls and unknown fields. Raises ShapeError where Go's decoder would."""
    name, schema = pack.resolve(schema)
    owner = name.rsplit(".", 1)[-1] or owner
    kind = schema.get("type")
    if kind == "array":
        if not isinstance(value, list):
            raise _mismatch(value, path, owner, schema)
        items = schema.get("items", {})
        return [clean(part, items, report, path=f"{path}[{i}]", owner=owner) for i, part in enumerate(value)]
    if kind == "object":
        if not isinstance(value, dict):
            raise _mismatch(value, path, owner, schema)
        return _clean_object(value, schema, report, path=path, owner=owner)
    if not _scalar_check(schema)(value):
        raise _mismatch(value, path, owner, schema)
    return value


def _clean_object(
    value: dict[str, Any], schema: pack.Schema, report: Report, *, path: str, owner: str
) -> dict[str, Any]:
    properties = schema.get("properties")
    extra = schema.get("additionalProperties")
    if properties is None and not isinstance(extra, dict):
        return value
    result = {}
    for key, part in value.items():
        inner = properties.get(key) if properties is not None else extra
        where = f"{path}.{key}" if path else key
        if inner is None:
            report.unknown.append(where)
        elif part is not None:
            result[key] = clean(part, inner, report, path=where, owner=owner)
        elif properties is None and inner.get("type") == "string":
            result[key] = ""  # a null in a map of strings is Go's zero value
    return result


def _mismatch(value: Any, path: str, owner: str, schema: pack.Schema) -> ShapeError:
    where = re.sub(r"\[\d+\]", "", path)
    if schema.get("format") == "date-time" and isinstance(value, str):
        return ShapeError(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" ({path})')
    if schema.get("format") == "byte" and isinstance(value, str):
        return ShapeError(f"illegal base64 data in {path}")
    target = _go_type(schema)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and target.startswith("int"):
        return ShapeError(
            f"json: cannot unmarshal number {value} into Go struct field {owner}.{where} of type {target}"
        )
    return ShapeError(f"json: cannot unmarshal {_word(value)} into Go struct field {owner}.{where} of type {target}")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    if value is None:
        return "null"
    return "array" if isinstance(value, list) else "object"


def _go_type(schema: pack.Schema) -> str:
    kind = schema.get("type")
    if kind == "integer":
        return str(schema.get("format", "int64"))
    if kind == "boolean":
        return "bool"
    if kind == "array":
        inner, resolved = pack.resolve(schema.get("items", {}))
        return f"[]{'v1.' + inner.rsplit('.', 1)[-1] if inner else _go_type(resolved)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map[string]{_go_type(pack.resolve(schema['additionalProperties'])[1])}"
    return {"string": "string", "number": "float64", "object": "object"}.get(str(kind), "int or string")
