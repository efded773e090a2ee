"""Strict parsers of annotation and ConfigMap values: a typed value, or ValueError with a sentence for the user.

Promises: no value with a control character passes, nothing is resolved, opened or run. Sizes and times are read as
nginx reads them, booleans as Go's strconv.ParseBool does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

MAX_LENGTH = 4096
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SIZE = re.compile(r"([0-9]{1,12})([kKmMgG]?)")
_TIME = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w|y)?")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


class Partly(ValueError):
    """A list of which some is wrong: `rest` is what counts."""

    def __init__(self, message: str, rest: object) -> None:
        super().__init__(message)
        self.rest = rest


def plain(value: str) -> str:
    """Text without control characters, not overlong. Every value passes here first."""
    if len(value) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise ValueError("contains a control character")
    return value.strip()


def header_text(value: str) -> str:
    """What may stand in a header: printable ASCII."""
    if not value.isascii():
        raise ValueError(f"{value!r} contains a character that no header can carry")
    return value


def flag(value: str) -> bool:
    """`"true"` or `"false"`."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError(f'{value!r} is neither "true" nor "false"')


def on_off(value: str) -> bool:
    """nginx' switches: `on` or `off`."""
    if value in ("on", "off"):
        return value == "on"
    raise ValueError(f"{value!r} is neither on nor off")


def integer(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers in a range."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", value) or not low <= int(value) <= high:
            raise ValueError(f"{value!r} is not a whole number from {low} to {high}")
        return int(value)

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """A parser of a fixed set of words."""

    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"{value!r} is not one of {', '.join(words)}")
        return value

    return parse


def listed(item: Callable[[str], object], *, separators: str = ",") -> Callable[[str], tuple[object, ...]]:
    """A parser of lists; empty entries are left out."""

    def parse(value: str) -> tuple[object, ...]:
        return tuple(item(part) for part in (raw.strip() for raw in re.split(f"[{separators}]", value)) if part)

    return parse


def each(item: Callable[[str], object]) -> Callable[[str], tuple[object, ...]]:
    """A parser of lists in which a wrong entry leaves the others alone."""

    def parse(value: str) -> tuple[object, ...]:
        found, wrong = [], []
        for part in filter(None, (raw.strip() for raw in value.split(","))):
            try:
                found.append(item(part))
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise Partly("; ".join(wrong) + (" (the others count)" if found else ""), tuple(found))
        return tuple(found)

    return parse


def size(value: str) -> int:
    """Bytes, as nginx writes sizes: 512, 8k, 1M, 2g."""
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a size such as 8k, 1m or 1g")
    return int(match[1]) * _UNITS[match[2].lower()]


def seconds(value: str) -> float:
    """Seconds, as nginx writes times: 60, 60s, 5m."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a time such as 60, 30s or 5m")
    return int(match[1]) * _SECONDS[match[2] or ""]


def network(value: str) -> str:
    """One address or CIDR, in its canonical form."""
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address or CIDR") from None


def host(value: str) -> str:
    """A host name, in lower case."""
    if len(value) > 253 or not _HOST.fullmatch(value):
        raise ValueError(f"{value!r} is not a host name")
    return value.lower()


def alias(value: str) -> str:
    """A host name or a wildcard, as the table writes it (nginx' `*.name` stands for one or more labels)."""
    if value.startswith("~"):
        raise ValueError(f"{value!r}: regular expressions are no host names; name the hosts")
    return "**." + host(value[2:]) if value.startswith("*.") else host(value)


def token(value: str) -> str:
    """A header, cookie or method name (RFC 9110 token)."""
    if len(value) > 256 or not _TOKEN.fullmatch(value):
        raise ValueError(f"{value!r} is not a name that HTTP allows")
    return value


def status(value: str) -> int:
    """A status code."""
    return integer(100, 599)(value)


def object_name(value: str) -> str:
    """`name` of an object in the Ingress's own namespace."""
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a name")
    return value


def reference(value: str) -> tuple[str, str]:
    """`name` or `namespace/name`; the namespace is "" when it is not given."""
    namespace, slash, name = value.rpartition("/")
    if slash:
        object_name(namespace)
    return (namespace, object_name(name))


def absolute_path(value: str) -> str:
    """A URL path, for headers and redirects: it begins with one slash and has no space, quote or backslash."""
    header_text(value)
    if not value.startswith("/") or value.startswith("//") or re.search(r"[\s\"\\<>]", value):
        raise ValueError(f"{value!r} is not a path that begins with one /")
    return value


def text(value: str) -> str:
    """Any text a header can carry."""
    return header_text(value)


def words(table: Mapping[str, object], *, separators: str = r",\s") -> Callable[[str], tuple[object, ...]]:
    """A parser of lists of known words to what they stand for."""

    def item(word: str) -> object:
        if word not in table:
            raise ValueError(f"{word!r} is not one of {', '.join(sorted(table))}")
        return table[word]

    return listed(item, separators=separators)
