"""`fairlead.dev/*` annotations of a Service: shorthands for one field each of the Backend's policy (DESIGN §7).

An annotation that we do not know, or a value that is not one of its words, is a Problem and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import table
from fairlead.routing.ingress_nginx import catalogue, values

PREFIX = "fairlead.dev/"
ALGORITHMS = (
    "round-robin", "weighted-round-robin", "random", "least-request", "power-of-two", "ewma", "prequal", "ip-hash",
    "hash", "maglev", "ring-hash",
    "rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos",  # as in IPVS
)  # fmt: skip
HASHED = ("hash", "maglev", "ring-hash", "dh", "mh", "lblc", "lblcr")
BOUNDED = ("hash", "maglev", "ring-hash", "dh", "mh", "ip-hash", "sh")
_CANARY = ("canary", "canary-weight", "canary-header", "canary-cookie")
_ELSEWHERE = frozenset({"drain-seconds", *_CANARY})


def parse(annotations: Mapping[str, str], *, obj: str) -> tuple[dict[str, Any], list[Problem]]:
    """The Backend's fields that the annotations set, and what is wrong with them."""
    fields: dict[str, Any] = {}
    problems = []
    for name, value in sorted(annotations.items()):
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in _ELSEWHERE:
            continue
        try:
            _FIELDS.get(name.removeprefix(PREFIX), _unknown)(fields, str(value))
        except ValueError as error:
            problems.append(Problem(obj, f"metadata.annotations[{name}]", "InvalidAnnotation", str(error)))
    if fields.get("hash_on") and fields.get("algorithm") not in HASHED:
        problems.append(
            Problem(obj, f"metadata.annotations[{PREFIX}hash-on]", "InvalidAnnotation",
                    f"has no effect without {PREFIX}algorithm: one of {', '.join(HASHED)}")
        )  # fmt: skip
        fields.pop("hash_on")
    if fields.get("load_bound") and fields.get("algorithm") not in BOUNDED:
        problems.append(
            Problem(obj, f"metadata.annotations[{PREFIX}load-bound]", "InvalidAnnotation",
                    f"has no effect without {PREFIX}algorithm: one of {', '.join(BOUNDED)}")
        )  # fmt: skip
        fields.pop("load_bound")
    return fields, problems


@dataclass(frozen=True, slots=True)
class Canary:
    """An Ingress's canary annotations. `only`: it has no policy beside them."""

    asked: bool = False
    words: catalogue.Words = field(default_factory=catalogue.Words)
    problems: tuple[Problem, ...] = ()
    only: bool = False


def canary(annotations: Mapping[str, str], *, obj: str) -> Canary:
    """`canary: "true"` with `canary-weight` (percent), `canary-header` (NAME or NAME=VALUE) or `canary-cookie`."""
    own = {name.removeprefix(PREFIX): str(value) for name, value in annotations.items() if name.startswith(PREFIX)}
    asked = own.get("canary") == "true"
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name in _CANARY:
        if name in own:
            try:
                _canary_word(found, name, own[name], asked=asked)
            except ValueError as error:
                problems.append(Problem(obj, f"metadata.annotations[{PREFIX}{name}]", "InvalidAnnotation", str(error)))
    if asked and not found and not problems:
        needed = "a canary needs canary-weight, canary-header or canary-cookie"
        problems.append(Problem(obj, f"metadata.annotations[{PREFIX}canary]", "InvalidAnnotation", needed))
    return Canary(asked, catalogue.Words(found), tuple(problems), all(name in _ELSEWHERE for name in own))


def _canary_word(found: dict[str, Any], name: str, value: str, *, asked: bool) -> None:
    if name == "canary":
        values.flag(value)
    elif not asked:
        raise ValueError(f'has no effect without {PREFIX}canary: "true"')
    elif name == "canary-weight":
        found[name] = values.integer(0, 100)(value)
    elif name == "canary-cookie":
        found["canary-by-cookie"] = values.token(value)
    else:
        header, equals, wanted = value.partition("=")
        found["canary-by-header"] = values.token(header)
        if equals:
            found["canary-by-header-value"] = values.text(wanted)


def unknown(
    annotations: Mapping[str, str], *, obj: str, prefix: str, known: frozenset[str], hint: str
) -> list[Problem]:
    """A Problem for each annotation under the prefix that an object of its kind may not carry."""
    return [
        Problem(obj, f"metadata.annotations[{name}]", "UnknownAnnotation", f"is not honoured: {hint}")
        for name in sorted(annotations)
        if name.startswith(prefix) and name.removeprefix(prefix) not in known
    ]


def _unknown(fields: dict[str, Any], value: str) -> None:
    raise ValueError(f"no such annotation; there are {', '.join(PREFIX + name for name in sorted(_FIELDS))}")


def _algorithm(fields: dict[str, Any], value: str) -> None:
    if value not in ALGORITHMS:
        raise ValueError(f"{value!r} is no algorithm; use one of {', '.join(ALGORITHMS)}")
    fields["algorithm"] = value


def _hash_on(fields: dict[str, Any], value: str) -> None:
    fields["hash_on"] = hash_words(value)


def hash_words(value: str) -> str:
    """What a hash takes: one word, or several joined by +."""
    for word in value.split("+"):
        kind, _, name = word.partition(":")
        plain = kind in ("path", "uri", "client", "host", "hostname") and not name
        if not plain and not (kind in ("header", "cookie", "query") and name and values.token(name)):
            raise ValueError(f"{word!r} is not header:NAME, cookie:NAME, query:NAME, path, uri, client or host")
    return value


def _affinity(fields: dict[str, Any], value: str) -> None:
    kind, _, name = value.partition(":")
    if kind == "cookie" and name:
        fields["affinity"] = table.Affinity(kind="cookie", cookie=name)
    elif value == "client":
        fields["affinity"] = table.Affinity(kind="client")
    else:
        raise ValueError(f"{value!r} is not client or cookie:NAME")


def _number(value: str, *, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None
    if not low <= number <= high:
        raise ValueError(f"{value} is not between {low:g} and {high:g}")
    return number


def _float(field: str, *, low: float = 0.0, high: float = 86400.0) -> Callable[[dict[str, Any], str], None]:
    def parse_field(fields: dict[str, Any], value: str) -> None:
        fields[field] = _number(value, low=low, high=high)

    return parse_field


def _within(field: str, struct: Any, part: str, *, whole: bool, high: float) -> Callable[[dict[str, Any], str], None]:
    def parse_field(fields: dict[str, Any], value: str) -> None:
        number = _number(value, low=0, high=high)
        if whole and number != int(number):
            raise ValueError(f"{value} is not a whole number")
        current = fields.get(field) or struct()
        changed = {name: getattr(current, name) for name in struct.__struct_fields__}
        changed[part] = int(number) if whole else number
        fields[field] = struct(**changed)

    return parse_field


def _hold(fields: dict[str, Any], value: str) -> None:
    """Scale to zero (the autoscaler acts on it): requests wait while there is no endpoint."""
    _number(value, low=1, high=2592000)
    fields["hold"] = True


_FIELDS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "algorithm": _algorithm,
    "hash-on": _hash_on,
    "affinity": _affinity,
    "load-bound": _float("load_bound", low=1.0, high=1000.0),
    "spill-factor": _float("spill_factor", high=1e6),
    "slow-start-seconds": _float("slow_start_seconds"),
    "panic-threshold": _float("panic_threshold", low=-1.0, high=100.0),
    "connect-timeout-seconds": _within("timeouts", table.Timeouts, "connect_seconds", whole=False, high=3600),
    "request-timeout-seconds": _within("timeouts", table.Timeouts, "request_seconds", whole=False, high=86400),
    "idle-timeout-seconds": _within("timeouts", table.Timeouts, "idle_seconds", whole=False, high=86400),
    "idle-seconds": _hold,
    "retry-attempts": _within("retry", table.Retry, "attempts", whole=True, high=10),
    "max-connections-per-endpoint": _within("limits", table.Limits, "endpoint_connections", whole=True, high=1e6),
    "max-requests-per-endpoint": _within("limits", table.Limits, "endpoint_requests", whole=True, high=1e6),
}
