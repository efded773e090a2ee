"""A BackendPolicy's spec to fields of a Backend: one table of names, types and ranges, which is its schema, too.

camelCase in the manifest, `*Seconds` in float seconds. Refused with the field's path: unknown names, wrong types,
values out of range, a hash without something to hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead.routing import policy, table


class FieldError(ValueError):
    """A field that cannot be; `path` is below spec."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range; whole where `whole`."""

    low: float = 0.0
    high: float = 86400.0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One of some words; any text where there are none."""

    words: tuple[str, ...] = ()
    most: int = 256


@dataclass(frozen=True, slots=True)
class Group:
    """Several fields that make a struct of the table."""

    struct: Any
    parts: dict[str, tuple[str, Any]]  # camelCase -> the struct's field and its type


_COUNT = Number(high=1_000_000, whole=True)
_SECONDS = Number()
_PERCENT = Number(high=100.0)
_KINDS = Word(("http", "tcp", "grpc"))
_RETRIED = ("connect", "reset", "timeout", "5xx", "non-idempotent")
SPEC: dict[str, tuple[str, Any]] = {
    "algorithm": ("algorithm", Word(policy.ALGORITHMS)),
    "hashOn": ("hash_on", Word()),
    "loadBound": ("load_bound", Number(1.0, 1000.0)),
    "spillFactor": ("spill_factor", Number(high=1_000_000)),
    "slowStartSeconds": ("slow_start_seconds", _SECONDS),
    "panicThreshold": ("panic_threshold", Number(-1.0, 100.0)),
    "affinity": ("affinity", Group(table.Affinity, {
        "kind": ("kind", Word(("client", "cookie"))), "cookie": ("cookie", Word()),
        "timeoutSeconds": ("timeout_seconds", _SECONDS), "path": ("path", Word()), "domain": ("domain", Word()),
        "sameSite": ("same_site", Word(("None", "Lax", "Strict"))),
        "maxAgeSeconds": ("max_age_seconds", Number(high=10**9, whole=True)),
    })),
    "health": ("health", Group(table.ActiveHealth, {
        "kind": ("kind", _KINDS), "path": ("path", Word()), "host": ("host", Word()),
        "service": ("service", Word()),
        "port": ("port", Number(1, 65535, True)), "intervalSeconds": ("interval_seconds", Number(0.1, 3600)),
        "timeoutSeconds": ("timeout_seconds", Number(0.01, 3600)),
        "healthyThreshold": ("healthy_threshold", Number(1, 1000, True)),
        "unhealthyThreshold": ("unhealthy_threshold", Number(1, 1000, True)),
    })),
    "outlier": ("outlier", Group(table.Outlier, {
        "consecutiveErrors": ("consecutive_errors", _COUNT), "connectFailures": ("connect_failures", _COUNT),
        "successRatePercent": ("success_rate_percent", _PERCENT), "ejectionSeconds": ("ejection_seconds", _SECONDS),
        "maxEjectionSeconds": ("max_ejection_seconds", _SECONDS),
        "maxEjectedPercent": ("max_ejected_percent", _PERCENT),
    })),
    "retry": ("retry", Group(table.Retry, {
        "attempts": ("attempts", Number(1, 100, True)), "on": ("on", [Word(_RETRIED)]),
        "bufferBytes": ("buffer_bytes", Number(high=2**30, whole=True)), "budgetPercent": ("budget_percent", _PERCENT),
        "timeoutSeconds": ("timeout_seconds", _SECONDS), "backoffSeconds": ("backoff_seconds", _SECONDS),
    })),
    "timeouts": ("timeouts", Group(table.Timeouts, {
        "connectSeconds": ("connect_seconds", Number(0.001, 3600)), "requestSeconds": ("request_seconds", _SECONDS),
        "idleSeconds": ("idle_seconds", _SECONDS), "backendRequestSeconds": ("backend_request_seconds", _SECONDS),
        "connectionAgeSeconds": ("connection_age_seconds", _SECONDS),
    })),
    "limits": ("limits", Group(table.Limits, {
        "endpointConnections": ("endpoint_connections", _COUNT), "endpointRequests": ("endpoint_requests", _COUNT),
        "maxWaiting": ("max_waiting", _COUNT),
    })),
}  # fmt: skip


def parse(spec: dict[str, Any]) -> dict[str, Any]:
    """The Backend's fields. Raises FieldError."""
    fields = _parts(spec, SPEC, "")
    hashed = fields.get("algorithm") in policy.HASHED
    if fields.get("hash_on"):
        _check_hash(fields["hash_on"], hashed)
    if fields.get("affinity") and fields["affinity"].kind == "cookie" and not fields["affinity"].cookie:
        raise FieldError("affinity.cookie", "Required value: the cookie's name")
    if fields.get("load_bound") and fields.get("algorithm") not in policy.BOUNDED:
        raise FieldError("loadBound", f"has no effect without algorithm: one of {', '.join(policy.BOUNDED)}")
    health = fields.get("health")
    if health and health.service and health.kind != "grpc":
        raise FieldError("health.service", "has no effect without kind: grpc")
    return fields


def _check_hash(value: str, hashed: bool) -> None:
    try:
        policy.hash_words(value)
    except ValueError as error:
        raise FieldError("hashOn", str(error)) from None
    if not hashed:
        raise FieldError("hashOn", f"has no effect without algorithm: one of {', '.join(policy.HASHED)}")


def _parts(found: Any, known: dict[str, tuple[str, Any]], path: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise FieldError(path.rstrip("."), "must be an object")
    fields = {}
    for name, value in found.items():
        if name not in known:
            raise FieldError(path + name, f"unknown field; there are {', '.join(known)}")
        field, kind = known[name]
        fields[field] = _value(value, kind, path + name)
    return fields


def _value(value: Any, kind: Any, path: str) -> Any:
    if isinstance(kind, Group):
        return kind.struct(**_parts(value, kind.parts, path + "."))
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise FieldError(path, "must be a list")
        return tuple(_value(one, kind[0], f"{path}[{index}]") for index, one in enumerate(value))
    if isinstance(kind, Number):
        return _number(value, kind, path)
    if not isinstance(value, str) or len(value) > kind.most or any(ord(letter) < 32 for letter in value):
        raise FieldError(path, f"must be a text of at most {kind.most} characters")
    if kind.words and value not in kind.words:
        raise FieldError(path, f"{value!r} is not one of {', '.join(kind.words)}")
    return value


def _number(value: Any, kind: Number, path: str) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not kind.low <= value <= kind.high:
        raise FieldError(path, f"must be a number from {kind.low:g} to {kind.high:g}")
    if kind.whole:
        if value != int(value):
            raise FieldError(path, "must be a whole number")
        return int(value)
    return float(value)
