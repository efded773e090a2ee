"""Regular expressions of users: what engine and interpreter both carry, else a ValueError.

The engine searches in linear time (RE2's dialect: no look-around, no back-references). Kubernetes' own advice for
ingress-nginx asks for the same dialect. A path's regex is anchored at its beginning only, exactly as nginx' location
`~* "^PATH"`: `/a|/b` therefore finds `/b` anywhere.
"""

from __future__ import annotations

import re

MAX_LENGTH = 1024
_REFUSED = (
    (re.compile(r"\(\?(=|!|<=|<!)"), "looks ahead or behind"),
    (re.compile(r"\(\?>|[*+?}]\+"), "is possessive or atomic"),
    (re.compile(r"\(\?(P=|\(|R\)|[0-9])|\\[gk][{<'1-9]"), "refers back, is recursive or conditional"),
    (re.compile(r"\(\?#"), "holds a comment"),
    (re.compile(r"\\[GKRXCNQEzZHVhvle]"), "uses an escape of PCRE alone"),
    (re.compile(r"\\0"), "uses an octal escape"),
    (re.compile(r"\(\?[a-zA-Z-]*[aLu][a-zA-Z-]*[:)]"), "sets a flag that other engines do not have"),
    (re.compile(r"\{,"), "repeats without a lower bound"),
    (re.compile(r"\(\?<"), "names a group in a form that is not carried"),
)
_BACK = re.compile(r"\\[1-9]")
_NESTED = re.compile(r"\[\^?\]?[^\]]*?(\[|&&|--|~~|\|\|)")
_REPEAT = re.compile(r"\{([0-9]*),?([0-9]*)\}")


def check(value: str) -> str:
    """The pattern itself, when it is carried."""
    if len(value) > MAX_LENGTH:
        raise ValueError(f"the regular expression is longer than {MAX_LENGTH} characters")
    bare = re.sub(r"\\\\", "__", value)
    for refused, what in _REFUSED:
        if refused.search(bare):
            raise ValueError(f"the regular expression {value!r} {what}, which is not carried")
    if _NESTED.search(re.sub(r"\\.", "__", value)):
        raise ValueError(f"the regular expression {value!r} has a set within a set, which engines read differently")
    if _BACK.search(bare):
        raise ValueError(f"the regular expression {value!r} refers back, which is not carried")
    for low, high in _REPEAT.findall(bare):
        if max(int(low or 0), int(high or 0)) > 1000:
            raise ValueError(f"the regular expression {value!r} repeats more than 1000 times")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return value


def whole(value: str) -> str:
    """A pattern that matches a whole text where `value` is found anywhere in it."""
    return f"^(?s:.*(?:{value}).*)$"


def blocked(value: str) -> str:
    """An entry of nginx' map as a pattern: ~*REGEX without regard to case, ~REGEX, or a whole text."""
    if value.startswith("~"):
        expression = check(re.sub(r"\\([/ ])", r"\1", value.lstrip("~*")))
        return f"(?i:{expression})" if value.startswith("~*") else f"(?:{expression})"
    return f"(?i:^{re.escape(value)}$)"


def cookie(name: str, value: str) -> str:
    """A pattern for a Cookie header in which the cookie has the value."""
    return rf"^(?:.*;\s*)?{re.escape(name)}={re.escape(value)}(?:\s*;.*)?$"


def path(value: str) -> str:
    """nginx' location pattern of an Ingress path."""
    return check("^" + value)
