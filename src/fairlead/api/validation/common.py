"""Checks that many kinds share: numbers, selectors, ports, templates' labels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fairlead.api import field_errors, names, quantity, selectors

Object = dict[str, Any]
Problems = list[field_errors.FieldError]
_PERCENT = re.compile(r"[0-9]+%")


def non_negative(value: Any, path: str) -> Problems:
    """Zero or more; absent is fine."""
    if value is None or value >= 0:
        return []
    return [field_errors.invalid(path, value, "must be greater than or equal to 0")]


def positive(value: Any, path: str) -> Problems:
    """More than zero; absent is fine."""
    if value is None or value > 0:
        return []
    return [field_errors.invalid(path, value, "must be greater than 0")]


def one_of(value: Any, path: str, known: Iterable[str]) -> Problems:
    """A required word."""
    known = tuple(known)
    if value in known:
        return []
    return [field_errors.required(path)] if not value else [field_errors.unsupported(path, value, known)]


def port_number(value: Any, path: str) -> Problems:
    """1 to 65535."""
    if isinstance(value, int) and 1 <= value <= 65535:
        return []
    return [field_errors.invalid(path, value, "must be between 1 and 65535, inclusive")]


def port_or_name(value: Any, path: str) -> Problems:
    """A port's number or its name."""
    if isinstance(value, int):
        return port_number(value, path)
    problem = names.port_name_problem(value) if value else "must contain at least one letter (a-z)"
    return [field_errors.invalid(path, value, problem)] if problem else []


def int_or_percent(value: Any, path: str) -> Problems:
    """A number of zero or more, or a percentage."""
    if isinstance(value, int):
        return non_negative(value, path)
    if value is None or _PERCENT.fullmatch(value):
        return []
    detail = (
        "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
        "regex used for validation is '[0-9]+%')"
    )
    return [field_errors.invalid(path, value, detail)]


def quantity_of(value: Any, path: str) -> Problems:
    """A quantity of zero or more."""
    try:
        number = quantity.parse(value)
    except quantity.QuantityError:
        detail = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        return [field_errors.invalid(path, value, detail)]
    return [field_errors.invalid(path, value, "must be greater than or equal to 0")] if number < 0 else []


def label_selector(selector: Any, path: str) -> Problems:
    """A LabelSelector that can be used."""
    if selector is None:
        return [field_errors.required(path)]
    found = names.validate_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        operator, values = expression.get("operator", ""), expression.get("values") or ()
        if operator in ("In", "NotIn") and not values:
            found.append(
                field_errors.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            )
        elif operator in ("Exists", "DoesNotExist") and values:
            found.append(
                field_errors.forbidden(
                    f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
            )
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            found.append(field_errors.invalid(f"{where}.operator", operator, "not a valid selector operator"))
        if problem := names.qualified_problem(expression.get("key", "")):
            found.append(field_errors.invalid(f"{where}.key", expression.get("key", ""), problem))
    return found


def workload_selector(spec: Object) -> Problems:
    """A workload's selector: not empty, and its template's labels match it."""
    found = label_selector(spec.get("selector"), "spec.selector")
    if found:
        return found
    selector = spec["selector"]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [field_errors.invalid("spec.selector", selector, "empty selector is invalid for deployment")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selectors.from_object(selector).matches(labels):
        detail = "`selector` does not match template `labels`"
        found.append(field_errors.invalid("spec.template.metadata.labels", labels, detail))
    return found
