"""Paths as the engine compares them (engine/src/http/path.rs says why): escapes decoded once, empty elements merged.

What a backend may take for another path is compared as that path; what could climb (dot segments in any spelling), lie
(an encoded NUL) or is malformed is refused with a 400. Bytes that are no UTF-8 are kept as surrogates.
"""

from __future__ import annotations

import re
import urllib.parse

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNSAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#%?")


def normal(raw: str) -> str | None:
    """The path that Routes are compared with; None is a 400. `raw` is a target without its query."""
    if "%" in _ESCAPE.sub("", raw):
        return None
    path = re.sub("/{2,}", "/", _decoded(raw))
    climbs = any(part.partition(";")[0] in (".", "..") for part in re.split(r"[/\\]", path))
    return None if climbs or "\0" in path else path


def of_route(value: str) -> str:
    """A Route's own path in that form; what is no escape stands for itself."""
    return re.sub("/{2,}", "/", _decoded(value))


def beginning(expression: str) -> str:
    """The plain text with which every path begins that fits an expression, as one; "" where none is certain."""
    plain = re.match(r"[/\w~ -]*", expression)
    if plain is None or "|" in expression:
        return ""
    # The last character may be one that a repetition makes optional.
    return re.escape(plain[0] if len(plain[0]) == len(expression) else plain[0][:-1])


def _decoded(text: str) -> str:
    return urllib.parse.unquote(text, errors="surrogateescape")


def rest(raw: str, prefix: str) -> str:
    """What follows the normal form `prefix` in a path, as it came."""
    wanted = len(prefix.encode(errors="surrogateescape"))
    at = seen = 0
    last = b""
    while seen < wanted and at < len(raw):
        step = 3 if raw[at] == "%" else 1
        byte = urllib.parse.unquote_to_bytes(raw[at : at + step])
        at += step
        seen += not (byte == last == b"/")
        last = byte
    return raw[at:]


def encode(path: str) -> str:
    """A path in its normal form as a target may have it."""
    return urllib.parse.quote(path, safe=_UNSAFE, errors="surrogateescape")
