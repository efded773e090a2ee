"""Validation by a structural schema, worded as kube-openapi's validator words it."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from typing import Any

from fairlead.api import field_errors
from fairlead.api.structural import pruning

Schema = dict[str, Any]
Problems = list[field_errors.FieldError]
INT_OR_STRING = "x-kubernetes-int-or-string"
_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
}


def validate(value: Any, schema: Schema, *, path: str = "") -> Problems:
    """What is wrong with a value."""
    found: Problems = []
    _check(value, schema, path, found)
    return found


def _check(value: Any, schema: Schema, path: str, found: Problems) -> None:
    if value is None:
        if not schema.get("nullable") and schema.get("type"):
            found.append(_wrong_type(value, schema["type"], path))
        return
    wanted = schema.get("type")
    if schema.get(INT_OR_STRING) is True:
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            found.append(_wrong_type(value, "integer,string", path))
            return
    elif wanted and not _is(value, wanted):
        found.append(_wrong_type(value, wanted, path))
        return
    if "enum" in schema and value not in schema["enum"]:
        known = [str(word) for word in schema["enum"]]
        found.append(field_errors.unsupported(path, value, known))
    for check in _CHECKS.get(type(value), ()):
        check(value, schema, path, found)
    _combined(value, schema, path, found)


def _is(value: Any, wanted: str) -> bool:
    if wanted == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if wanted == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return _NAMES.get(type(value)) == wanted


def _wrong_type(value: Any, wanted: str, path: str) -> field_errors.FieldError:
    actual = _NAMES.get(type(value), "null")
    return field_errors.invalid(path, actual, f'{path or "<nil>"} in body must be of type {wanted}: "{actual}"')


def _object(value: dict[str, Any], schema: Schema, path: str, found: Problems) -> None:
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for key in schema.get("required") or ():
        if key not in value:
            found.append(field_errors.required(f"{path}.{key}" if path else key))
    for key, part in value.items():
        where = f"{path}.{key}" if path else key
        if key in properties:
            _check(part, properties[key], where, found)
        elif isinstance(extra, dict):
            _check(part, extra, where, found)
    _bounds(len(value), schema, "Properties", "properties", path, value, found)
    if schema.get(pruning.EMBEDDED):
        for key in ("apiVersion", "kind"):
            if not value.get(key):
                found.append(field_errors.required(f"{path}.{key}", "must not be empty"))


def _array(value: list[Any], schema: Schema, path: str, found: Problems) -> None:
    items = schema.get("items")
    if isinstance(items, dict):
        for index, part in enumerate(value):
            _check(part, items, f"{path}[{index}]", found)
    _bounds(len(value), schema, "Items", "items", path, value, found)
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set" or schema.get("uniqueItems"):
        for index, part in enumerate(value):
            if part in value[:index]:
                found.append(field_errors.duplicate(f"{path}[{index}]", part))
    elif kind == "map":
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        seen: list[dict[str, Any]] = []
        for index, part in enumerate(value):
            own = {key: part[key] for key in keys if isinstance(part, dict) and key in part}
            if own in seen:
                found.append(field_errors.duplicate(f"{path}[{index}]", own))
            seen.append(own)


def _bounds(size: int, schema: Schema, suffix: str, word: str, path: str, value: Any, found: Problems) -> None:
    least, most = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    if least is not None and size < least:
        found.append(field_errors.invalid(path, value, f"{path} in body should have at least {least} {word}"))
    if most is not None and size > most:
        found.append(field_errors.too_many(path, size, most))


def _string(value: str, schema: Schema, path: str, found: Problems) -> None:
    least, most = schema.get("minLength"), schema.get("maxLength")
    if least is not None and len(value) < least:
        found.append(field_errors.invalid(path, value, f"{path} in body should be at least {least} chars long"))
    if most is not None and len(value) > most:
        found.append(field_errors.too_long(path, most))
    pattern = schema.get("pattern")
    if pattern is not None and not _pattern(pattern)(value):
        found.append(field_errors.invalid(path, value, f"{path} in body should match '{pattern}'"))
    check = _FORMATS.get(schema.get("format", ""))
    if check is not None and not check(value):
        word = schema["format"]
        found.append(field_errors.invalid(path, value, f'{path} in body must be of type {word}: "{value}"'))


@functools.lru_cache(512)
def _pattern(pattern: str) -> Callable[[str], Any]:
    """Go's RE2 is nearly Python's; a pattern that Python cannot read accepts everything."""
    translated = pattern.replace("\\z", "\\Z").replace("[[:alnum:]]", "[A-Za-z0-9]")
    if translated.endswith("$") and not translated.endswith("\\$"):
        translated = translated[:-1] + "\\Z"
    try:
        return re.compile(translated).search
    except re.error:
        return lambda text: True


def _number(value: float, schema: Schema, path: str, found: Problems) -> None:
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if least is not None and (value < least or (schema.get("exclusiveMinimum") and value == least)):
        word = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        found.append(field_errors.invalid(path, value, f"{path} in body should be {word} {least}"))
    if most is not None and (value > most or (schema.get("exclusiveMaximum") and value == most)):
        word = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        found.append(field_errors.invalid(path, value, f"{path} in body should be {word} {most}"))
    if step and value % step:
        found.append(field_errors.invalid(path, value, f"{path} in body should be a multiple of {step}"))
    limits = {"int32": 2**31, "int64": 2**63}.get(schema.get("format", ""))
    if limits and not -limits <= value < limits:
        found.append(field_errors.invalid(path, value, f"{path} in body must be of type {schema['format']}"))


def _combined(value: Any, schema: Schema, path: str, found: Problems) -> None:
    for part in schema.get("allOf") or ():
        _check(value, part, path, found)
    if schema.get(INT_OR_STRING) is True:
        return
    options = schema.get("anyOf")
    if options and all(validate(value, part, path=path) for part in options):
        found.append(field_errors.invalid(path, "", f'"{path}" must validate at least one schema (anyOf)'))
    options = schema.get("oneOf")
    if options and sum(not validate(value, part, path=path) for part in options) != 1:
        found.append(field_errors.invalid(path, "", f'"{path}" must validate one and only one schema (oneOf)'))
    if "not" in schema and not validate(value, schema["not"], path=path):
        found.append(field_errors.invalid(path, "", f'"{path}" must not validate the schema (not)'))


def _is_time(text: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", text))


def _is_address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_FORMATS: dict[str, Callable[[str], Any]] = {
    "date-time": _is_time,
    "date": lambda text: re.fullmatch(r"\d{4}-\d\d-\d\d", text),
    "duration": lambda text: re.fullmatch(r"(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w)\s*)+|0", text),
    "ipv4": _is_address(4),
    "ipv6": _is_address(6),
    "cidr": _is_network,
    "uuid": _UUID.fullmatch,
    "byte": lambda text: re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) and len(text) % 4 == 0,
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text),
    "hostname": lambda text: re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?", text),
    "uri": lambda text: re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|/", text),
}
_CHECKS: dict[type, tuple[Callable[[Any, Schema, str, Problems], None], ...]] = {
    dict: (_object,),
    list: (_array,),
    str: (_string,),
    int: (_number,),
    float: (_number,),
}
