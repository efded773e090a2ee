"""Which texts may be names, labels, annotations (RFC 1123, RFC 1035, k8s.io/apimachinery `pkg/util/validation`)."""

from __future__ import annotations

import re
from typing import Any

from fairlead.api import field_errors

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ENVIRONMENT = re.compile(r"[^=\x00-\x1f\x7f]+")

SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
ANNOTATIONS_BYTES = 256 << 10


def label_problem(text: str) -> str:
    """Why the text is no RFC 1123 label, or ""."""
    if len(text) > 63:
        return "must be no more than 63 bytes"
    return "" if _LABEL.fullmatch(text) else LABEL_TEXT


def label_1035_problem(text: str) -> str:
    """Why the text is no RFC 1035 label (Services are named so), or ""."""
    if len(text) > 63:
        return "must be no more than 63 bytes"
    return "" if _LABEL_1035.fullmatch(text) else LABEL_1035_TEXT


def subdomain_problem(text: str) -> str:
    """Why the text is no RFC 1123 subdomain, or ""."""
    if len(text) > 253:
        return "must be no more than 253 bytes"
    return "" if _SUBDOMAIN.fullmatch(text) else SUBDOMAIN_TEXT


def path_segment_problem(text: str) -> str:
    """Why the text cannot be a segment of a path (RBAC objects are named so), or ""."""
    if text in (".", ".."):
        return f"may not be '{text}'"
    for letter in "/%":
        if letter in text:
            return f"may not contain '{letter}'"
    return ""


def port_name_problem(text: str) -> str:
    """Why the text is no IANA service name, or ""."""
    if len(text) > 15:
        return "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]+", text):
        return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search(r"[a-z]", text):
        return "must contain at least one letter (a-z)"
    if "--" in text:
        return "must not contain consecutive hyphens"
    if text[0] == "-" or text[-1] == "-":
        return "must not begin or end with a hyphen"
    return ""


def qualified_problem(text: str) -> str:
    """Why the text is no qualified name (label keys), or ""."""
    prefix, slash, name = text.rpartition("/")
    if slash and not prefix:
        return "prefix part must be non-empty"
    if prefix and (problem := subdomain_problem(prefix)):
        return f"prefix part {problem}"
    if not name:
        return f"name part must be non-empty; {QUALIFIED_TEXT}"
    if len(name) > 63:
        return "name part must be no more than 63 bytes"
    return "" if _QUALIFIED.fullmatch(name) else QUALIFIED_TEXT


def label_value_problem(text: str) -> str:
    """Why the text is no label value, or ""."""
    if len(text) > 63:
        return "must be no more than 63 bytes"
    return "" if not text or _QUALIFIED.fullmatch(text) else LABEL_VALUE_TEXT


def environment_problem(text: str) -> str:
    """Why the text cannot name an environment variable, or ""."""
    if _ENVIRONMENT.fullmatch(text) and text.isascii():
        return ""
    return "a valid environment variable name must consist only of printable ASCII characters other than '='"


_known_labels: dict[tuple[str, str], bool] = {}


def _good_label(key: str, value: str) -> bool:
    found = _known_labels.get((key, value))
    if found is None:
        found = not qualified_problem(key) and not label_value_problem(value)
        if len(_known_labels) > 4096:
            _known_labels.clear()
        _known_labels[key, value] = found
    return found


def validate_labels(labels: dict[str, str] | None, path: str) -> list[field_errors.FieldError]:
    """Wrong keys and values."""
    found = []
    for key, value in (labels or {}).items():
        if _good_label(key, value):
            continue
        if problem := qualified_problem(key):
            found.append(field_errors.invalid(path, key, problem))
        if problem := label_value_problem(value):
            found.append(field_errors.invalid(path, value, problem))
    return found


def validate_annotations(annotations: dict[str, str] | None, path: str) -> list[field_errors.FieldError]:
    """Wrong keys, and more than 256 KiB of them."""
    found, total = [], 0
    for key, value in (annotations or {}).items():
        total += len(key) + len(value)
        if not _good_label(key, "") and (problem := qualified_problem(key.lower())):
            found.append(field_errors.invalid(path, key, problem))
    if total > ANNOTATIONS_BYTES:
        found.append(field_errors.too_long(path, ANNOTATIONS_BYTES))
    return found


def validate_finalizers(finalizers: list[str] | None, path: str) -> list[field_errors.FieldError]:
    """Finalizers are qualified names."""
    known = ("foregroundDeletion", "orphan", "kubernetes")
    return [
        field_errors.invalid(path, text, problem)
        for text in finalizers or ()
        if text not in known and (problem := qualified_problem(text))
    ]


def validate_owners(owners: list[dict[str, Any]] | None, path: str) -> list[field_errors.FieldError]:
    """Owner references are complete, and at most one controls."""
    found = []
    for index, owner in enumerate(owners or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                found.append(field_errors.invalid(f"{path}[{index}].{field}", "", f"{field} must not be empty"))
    controllers = [owner.get("name") for owner in owners or () if owner.get("controller")]
    if len(controllers) > 1:
        detail = f'Only one reference can have Controller set to true. Found "true" in references for {controllers}'
        found.append(field_errors.invalid(path, owners, detail))
    return found
