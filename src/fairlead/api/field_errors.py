"""A wrong field as a value, worded as Kubernetes words it (k8s.io/apimachinery `pkg/util/validation/field`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """`path` such as `spec.ports[0].port`; `reason` for machines; `body` the text behind the path."""

    path: str
    reason: str
    body: str

    def __str__(self) -> str:
        return f"{self.path}: {self.body}" if self.path else self.body


def show(value: Any) -> str:
    """A value as Go prints it in such messages: strings quoted, the rest as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {show(value)}: {detail}")


def unsupported(path: str, value: Any, known: Iterable[str]) -> FieldError:
    words = ", ".join(f'"{word}"' for word in sorted(known))
    return FieldError(path, "FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {words}")


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {show(value)}")


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def too_many(path: str, actual: int, limit: int) -> FieldError:
    return FieldError(path, "FieldValueTooMany", f"Too many: {actual}: must have at most {limit} items")


def not_found(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueNotFound", f"Not found: {show(value)}")


def immutable(path: str, value: Any) -> FieldError:
    return invalid(path, value, "field is immutable")
