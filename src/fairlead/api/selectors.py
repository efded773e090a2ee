"""Label and field selectors: parsed once, then asked about many objects.

Promises `metav1.LabelSelector` (matchLabels, matchExpressions), the selector text of a query
(`a=b,c!=d,e in (f,g),!h`) and field selectors (`metadata.name=x,status.phase!=Running`) as Kubernetes defines them. A
selector that cannot be parsed raises `SelectorError`; its text says where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


class SelectorError(ValueError):
    """The text or object is not a selector; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        if self.operator == "In":
            return self.key in labels and labels[self.key] in self.values
        if self.operator == "NotIn":
            return self.key not in labels or labels[self.key] not in self.values
        return self._compares(labels.get(self.key, ""))

    def _compares(self, value: str) -> bool:
        if not re.fullmatch(r"-?[0-9]+", value):
            return False
        limit = int(self.values[0])
        return int(value) > limit if self.operator == "Gt" else int(value) < limit

    def __str__(self) -> str:
        if self.operator == "Exists":
            return self.key
        if self.operator == "DoesNotExist":
            return f"!{self.key}"
        if self.operator in ("Gt", "Lt"):
            return f"{self.key}{'>' if self.operator == 'Gt' else '<'}{self.values[0]}"
        if self.operator == "In" and len(self.values) == 1:
            return f"{self.key}={self.values[0]}"
        word = "in" if self.operator == "In" else "notin"
        return f"{self.key} {word} ({','.join(sorted(self.values))})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; `nothing` matches no object at all (a nil LabelSelector)."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        return all(requirement.matches(labels or {}) for requirement in self.requirements)

    @property
    def empty(self) -> bool:
        """Matches everything."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


NOTHING = Selector(nothing=True)
EVERYTHING = Selector()


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """A Service's `spec.selector`: every label must be equal."""
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in sorted((labels or {}).items())))


def from_object(selector: Mapping[str, Any] | None) -> Selector:
    """`metav1.LabelSelector`: nil selects nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    found = list(from_labels(selector.get("matchLabels")).requirements)
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        found.append(_from_expression(expression, f"matchExpressions[{index}]"))
    return Selector(tuple(found))


def _from_expression(expression: Mapping[str, Any], path: str) -> Requirement:
    operator = expression.get("operator")
    values = tuple(expression.get("values") or ())
    if operator in ("In", "NotIn"):
        if not values:
            raise SelectorError(f"{path}.values: must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            raise SelectorError(f"{path}.values: may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    elif operator in ("Gt", "Lt"):  # node selectors only
        if len(values) != 1 or not re.fullmatch(r"-?[0-9]+", values[0]):
            raise SelectorError(f"{path}.values: must be one integer when `operator` is 'Gt' or 'Lt'")
    else:
        raise SelectorError(f"{path}.operator: {operator!r} is not a valid label selector operator")
    return Requirement(str(expression.get("key", "")), operator, values)


_SET = re.compile(r"^(?P<key>\S+)\s+(?P<word>in|notin)\s*\((?P<values>[^()]*)\)$")
_COMPARE = re.compile(r"^(?P<key>[^\s=!<>]+)\s*(?P<sign>==|=|!=|>|<)\s*(?P<value>[^\s=!<>]*)$")
_KEY = re.compile(r"^([a-zA-Z0-9.\-]+/)?[A-Za-z0-9]([A-Za-z0-9._\-]*[A-Za-z0-9])?$")


def parse(text: str) -> Selector:
    """The selector of a `labelSelector` query parameter. Raises SelectorError."""
    return Selector(tuple(_parse_one(part) for part in _split(text)))


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    stripped = [part.strip() for part in parts]
    if stripped == [""]:
        return []
    if "" in stripped or depth:
        raise SelectorError(f"unable to parse requirement: {text!r}")
    return stripped


def _parse_one(part: str) -> Requirement:
    if match := _SET.match(part):
        values = tuple(value.strip() for value in match["values"].split(","))
        return Requirement(_key(match["key"], part), "In" if match["word"] == "in" else "NotIn", values)
    if match := _COMPARE.match(part):
        operators: dict[str, Operator] = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}
        operator = operators[match["sign"]]
        if operator in ("Gt", "Lt") and not re.fullmatch(r"-?[0-9]+", match["value"]):
            raise SelectorError(f"unable to parse requirement: {part!r}: for '>' and '<' the value must be an integer")
        return Requirement(_key(match["key"], part), operator, (match["value"],))
    if part.startswith("!"):
        return Requirement(_key(part[1:].strip(), part), "DoesNotExist")
    return Requirement(_key(part, part), "Exists")


def _key(key: str, part: str) -> str:
    if not _KEY.match(key):
        raise SelectorError(f"unable to parse requirement: {part!r}: {key!r} is not a label key")
    return key


FieldTest = Callable[[Mapping[str, Any]], bool]


def parse_fields(text: str) -> tuple[tuple[str, bool, str], ...]:
    """The terms of a `fieldSelector`: (path, equal, value). Raises SelectorError."""
    terms = []
    for part in _split(text):
        if not (match := re.match(r"^(?P<path>[^=!]+?)(?P<sign>==|=|!=)(?P<value>.*)$", part)):
            raise SelectorError(f"invalid field selector: {part!r}")
        terms.append((match["path"], match["sign"] != "!=", match["value"]))
    return tuple(terms)


def field_test(text: str) -> FieldTest:
    """A test of objects by a field selector; an absent field is the empty string."""
    terms = [(path.split("."), equal, value) for path, equal, value in parse_fields(text)]
    return lambda obj: all((_field(obj, path) == value) is equal for path, equal, value in terms)


def _field(obj: Any, path: list[str]) -> str:
    for part in path:
        obj = obj.get(part) if isinstance(obj, Mapping) else None
    if obj is None:
        return ""
    return str(obj).lower() if isinstance(obj, bool) else str(obj)
