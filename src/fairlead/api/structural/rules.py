"""`x-kubernetes-validations`: CEL rules of a structural schema (KEP-2876), compiled by the `cel` package when needed.

Promises: rules with `self`, transition rules with `oldSelf` where the old value is known (through objects, maps and
keyed lists), `message`, `messageExpression`, `reason` and `fieldPath`. Refused when the definition is made, so that no
rule is silently left out: what does not compile, functions of Kubernetes' own libraries that are not in `_FUNCTIONS`,
the optional syntax and `optionalOldSelf`. Refused when an object is checked: comprehensions over so much that they
would hold everybody up. Not followed: validation ratcheting (an unchanged value that breaks a new rule is refused).
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fairlead.api import field_errors

Schema = dict[str, Any]
Problems = list[field_errors.FieldError]
KEY = "x-kubernetes-validations"
RULE_LENGTH = 8192
STEPS = 200_000
"""How many elements the nested comprehensions of one rule may visit: half a second at worst."""

_MACRO = re.compile(r"\.(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_BUILT_IN = frozenset((
    "size", "matches", "contains", "startsWith", "endsWith", "int", "uint", "double", "string", "bool", "bytes", "dyn",
    "type", "duration", "timestamp", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek",
    "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds", "all", "exists", "exists_one",
    "existsOne", "map", "filter", "has",
))  # fmt: skip
_REASONS = {
    "FieldValueRequired": field_errors.required,
    "FieldValueForbidden": field_errors.forbidden,
}
_RESERVED = frozenset((
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule."""

    text: str
    program: Any
    transition: bool
    depth: int
    given: dict[str, Any] = field(repr=False)


def check_definition(schema: Schema, path: str) -> Problems:
    """What is wrong with the rules of a definition's schema."""
    found: Problems = []
    for where, node in _nodes(schema, path):
        for index, rule in enumerate(node.get(KEY) or ()):
            place = f"{where}.{KEY}[{index}]"
            if rule.get("optionalOldSelf"):
                found.append(field_errors.forbidden(f"{place}.optionalOldSelf", "is not offered by fairlead"))
            for name in ("rule", "messageExpression"):
                text = rule.get(name) or ""
                if name == "rule" and not text.strip():
                    found.append(field_errors.required(f"{place}.rule"))
                elif text and (problem := _problem(text)):
                    found.append(field_errors.invalid(f"{place}.{name}", text, problem))
    return found


def _nodes(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, part in (schema.get("properties") or {}).items():
        yield from _nodes(part, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from _nodes(schema[name], f"{path}.{name}")


def _problem(text: str) -> str:
    import cel

    if len(text) > RULE_LENGTH:
        return f"may not be longer than {RULE_LENGTH} characters"
    try:
        program = _guarded(cel.compile, text)
    except _Failed as error:
        return f"compilation failed: {error}"
    named = {name for name in program.functions() if not re.search(r"[^\w]", name) and not name.startswith("_")}
    if unknown := sorted(named - _BUILT_IN - set(_FUNCTIONS)):
        return f"compilation failed: the function {unknown[0]} is not offered by fairlead"
    bound = set(_MACRO.findall(_STRING.sub('""', text)))
    known = {"self", "oldSelf", "int", "uint", "double", "string", "bool", "bytes", "list", "map", "null_type", "type"}
    if unknown := sorted(set(program.variables()) - known - bound):
        return f"compilation failed: undeclared reference to '{unknown[0]}'"
    return ""


def validate(value: Any, schema: Schema, *, path: str = "", root: bool = False) -> Problems:
    """What the rules without `oldSelf` find."""
    found: Problems = []
    if has_rules(schema):
        _walk(_Place(path, root), schema, value, None, found)
    return found


def validate_update(value: Any, old: Any, schema: Schema, *, path: str = "", root: bool = False) -> Problems:
    """What the rules with `oldSelf` find."""
    found: Problems = []
    if has_rules(schema):
        _walk(_Place(path, root), schema, value, (old,), found)
    return found


def has_rules(schema: Schema) -> bool:
    """True when any rule is in the schema."""
    found = _HAS.get(id(schema))
    if found is None or found[0] is not schema:
        if len(_HAS) > 1024:
            _HAS.clear()
        found = _HAS[id(schema)] = (schema, any(node.get(KEY) for _, node in _nodes(schema, "")))
    return found[1]


_HAS: dict[int, tuple[Schema, bool]] = {}


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    root: bool = False


def _walk(place: _Place, schema: Schema, value: Any, old: tuple[Any] | None, found: Problems) -> None:
    """`old` is None when transition rules are not looked at, else it holds the old value."""
    if value is None:
        return
    for given in schema.get(KEY) or ():
        rule = _compiled(given["rule"], given.get("messageExpression") or "")
        if rule.transition == (old is not None):
            found += _evaluated(rule, given, place, schema, value, old)
    if isinstance(value, dict):
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, part in value.items():
            inner = properties.get(key) or (extra if isinstance(extra, dict) else None)
            if inner is not None:
                before = None if old is None else _below(old[0], key)
                if old is None or before is not None:
                    where = f"{place.path}.{key}" if place.path else key
                    _walk(_Place(where), inner, part, before, found)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        for index, part in enumerate(value):
            before = None if old is None else _same_item(old[0], part, keys)
            if old is None or before is not None:
                _walk(_Place(f"{place.path}[{index}]"), schema["items"], part, before, found)


def _below(old: Any, key: str) -> tuple[Any] | None:
    return (old[key],) if isinstance(old, dict) and key in old else None


def _same_item(old: Any, item: Any, keys: Any) -> tuple[Any] | None:
    """The old item with the same keys; None where there is none, or no keys say which it is."""
    if not keys or not isinstance(item, dict) or not isinstance(old, list):
        return None
    wanted = [item.get(key) for key in keys]
    return next(((one,) for one in old if isinstance(one, dict) and [one.get(k) for k in keys] == wanted), None)


@functools.lru_cache(maxsize=4096)
def _compiled(text: str, message: str) -> Rule:
    import cel

    program = cel.compile(text)
    given = {"message": cel.compile(message)} if message else {}
    return Rule(text, program, "oldSelf" in program.variables(), _depth(text), given)


def _depth(text: str) -> int:
    """How deeply comprehensions are nested."""
    plain = _STRING.sub('""', text)
    starts = {match.start() + match.group().index("(") for match in _MACRO.finditer(plain)}
    open_: list[bool] = []
    deepest = 0
    for index, letter in enumerate(plain):
        if letter == "(":
            open_.append(index in starts)
            deepest = max(deepest, sum(open_))
        elif letter == ")" and open_:
            open_.pop()
    return deepest


def _evaluated(
    rule: Rule, given: dict[str, Any], place: _Place, schema: Schema, value: Any, old: tuple[Any] | None
) -> Problems:
    wanted, kind = given.get("fieldPath") or "", schema.get("type") or "object"
    path = f"{place.path}{wanted}".lstrip(".") if wanted else place.path
    longest = max(_longest(value), _longest(old[0]) if old else 0, rule.text.count(",") if rule.depth > 1 else 0)
    if longest**rule.depth > STEPS:
        return [field_errors.invalid(path, kind, f"the rule visits too many elements to be evaluated: {rule.text}")]
    try:
        context = _context(value, old, schema, root=place.root)
        if _guarded(rule.program.execute, context) is True:
            return []
    except _Failed as error:
        return [field_errors.invalid(path, kind, f"rule evaluation error: {error}: {rule.text}")]
    detail = _message(rule, given, context)
    reason = given.get("reason") or ""
    if reason == "FieldValueDuplicate":
        return [field_errors.duplicate(path, value)]
    if reason in _REASONS:
        return [_REASONS[reason](path, detail)]
    return [field_errors.invalid(path, kind, detail)]


class _Failed(Exception):
    """A rule that came to no answer."""


def _guarded(function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except BaseException as error:  # a panic of the library's is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _Failed((str(error).splitlines() or [type(error).__name__])[0][:300]) from error


def _message(rule: Rule, given: dict[str, Any], context: Any) -> str:
    if "message" in rule.given:
        try:
            text = _guarded(rule.given["message"].execute, context)
            if isinstance(text, str) and text.strip() and "\n" not in text:
                return text
        except _Failed:
            pass  # as Kubernetes: the fixed message stands in
    return str(given.get("message") or f"failed rule: {' '.join(rule.text.split())}")


def _context(value: Any, old: tuple[Any] | None, schema: Schema, *, root: bool) -> Any:
    import cel

    context = cel.Context()
    context.add_variable("self", _native(value, schema, root=root))
    if old is not None:
        context.add_variable("oldSelf", _native(old[0], schema, root=root))
    for name, function in _FUNCTIONS.items():
        context.add_function(name, function)
    return context


def _native(value: Any, schema: Schema, *, root: bool = False) -> Any:
    """The value in CEL's types: doubles, times and durations where the schema says so, field names that are
    identifiers."""
    if isinstance(value, dict):
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        result = {}
        for key, part in value.items():
            if key in properties:
                result[_identifier(key)] = _native(part, properties[key])
            elif root and key == "metadata" and isinstance(part, dict):
                result[key] = {name: part[name] for name in ("name", "generateName") if name in part}
            elif isinstance(extra, dict):
                result[key] = _native(part, extra)
            else:
                result[key] = part
        return result
    if isinstance(value, list):
        items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
        return [_native(part, items or {}) for part in value]
    return _scalar(value, schema)


def _scalar(value: Any, schema: Schema) -> Any:
    kind, form = schema.get("type"), schema.get("format")
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "integer" and isinstance(value, float):
        return int(value)
    if isinstance(value, str) and form in ("date-time", "date"):
        try:
            return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return value
    return value


def _identifier(name: str) -> str:
    """A field's name as rules spell it: `__dash__`, `__dot__`, `__slash__`, `__underscores__`, `__KEYWORD__`."""
    if name in _RESERVED:
        return f"__{name}__"
    for text, spelled in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(text, spelled)
    return name


def _longest(value: Any) -> int:
    """The most elements that one comprehension over some part of the value may visit."""
    if isinstance(value, dict):
        return max(len(value), *map(_longest, value.values()), 1)
    if isinstance(value, list):
        return max(len(value), *map(_longest, value), 1)
    return 1


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _index_of(where: Any, what: Any) -> int:
    if isinstance(where, str):
        return where.find(what)
    return where.index(what) if what in where else -1


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "lowerAscii": lambda text: text.lower(),
    "upperAscii": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "split": lambda text, by, *most: text.split(by, most[0] - 1) if most and most[0] > 0 else text.split(by),
    "join": lambda texts, *by: (by[0] if by else "").join(texts),
    "replace": lambda text, old, new, *most: text.replace(old, new, *most),
    "substring": lambda text, start, *end: text[start : end[0]] if end else text[start:],
    "charAt": lambda text, index: text[index : index + 1],
    "indexOf": _index_of,
    "lastIndexOf": lambda text, what: text.rfind(what),
    "isSorted": lambda values: values == sorted(values),
    "sum": lambda values: sum(values),
    "min": lambda values: min(values),
    "max": lambda values: max(values),
    "isIP": _address,
    "isCIDR": _network,
}
"""Of Kubernetes' and CEL's own extension libraries, what is simple enough to be exact."""
