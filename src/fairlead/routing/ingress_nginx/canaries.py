"""Canary Ingresses: which of two Backends a request goes to, as Routes with header matches and weights.

Precedence as documented: the header, then the cookie, then the weight. Of several matching Routes of one path the one
with a header match goes first, and of those the smaller `order`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from fairlead.routing import table
from fairlead.routing.ingress_nginx import catalogue, pattern, sites

_SUFFIXES = ("/canary-header", "/canary-header-never", "/canary-cookie", "/canary-cookie-never")
STRIDE = 8
_OWN = ("load-balance", "upstream-hash-by", "upstream-hash-by-subset", "upstream-hash-by-subset-size")


def place(suffix: str) -> int:
    """Where a Route of that suffix stands among those of its location: before the main one, which is at 0."""
    return next((index - 4 for index, one in enumerate(_SUFFIXES) if suffix.startswith(one + "/") or suffix == one), 0)


def main_getter(canary: sites.Location | None, main: Callable[..., Any]) -> Callable[..., Any]:
    """The words of the main Backend: it is the canary that says whether sessions stick across the split."""
    behavior = canary.source.words.get("affinity-canary-behavior") if canary else None
    if behavior is None:
        return main
    return lambda name, default=None: behavior if name == "affinity-canary-behavior" else main(name, default)


def getter(canary: sites.Location | None, main: Callable[..., Any]) -> Callable[..., Any]:
    """The words of a canary's Backend: its main Ingress's, except what a canary says for itself."""
    words = canary.source.words if canary else catalogue.Words()
    legacy = words.get("affinity-canary-behavior") == "legacy"

    def get(name: str, default: Any = None) -> Any:
        if name in _OWN:
            return words.get(name, default)
        if legacy and name.startswith(("affinity", "session-cookie")):
            return words.get(name, default)
        return main(name, default)

    return get


def splits(
    match: table.Match, words: catalogue.Words, *, main: str, canary: str
) -> list[tuple[str, table.Match, tuple[table.WeightedBackend, ...]]]:
    """The Routes: id suffix, match and Backends."""
    found = [
        (suffix, msgspec.structs.replace(match, headers=(*match.headers, header)), (table.WeightedBackend(backend=to),))
        for suffix, header, to in _matches(words, main=main, canary=canary)
    ]
    total = max(words.get("canary-weight-total", 100), 100)
    weight = min(words.get("canary-weight", 0), total)
    chosen = ((main, total - weight), (canary, weight))
    backends = tuple(table.WeightedBackend(backend=name, weight=share) for name, share in chosen if share)
    return [*found, ("", match, backends)]


def _matches(words: catalogue.Words, *, main: str, canary: str) -> list[tuple[str, table.ValueMatch, str]]:
    found = []
    if header := words.get("canary-by-header"):
        if value := words.get("canary-by-header-value"):
            found.append((_SUFFIXES[0], table.ValueMatch(name=header, value=value), canary))
        elif shape := words.get("canary-by-header-pattern"):
            found.append((_SUFFIXES[0], _regex(header, pattern.whole(shape)), canary))
        else:
            found.append((_SUFFIXES[0], table.ValueMatch(name=header, value="always"), canary))
            found.append((_SUFFIXES[1], table.ValueMatch(name=header, value="never"), main))
    if cookie := words.get("canary-by-cookie"):
        found.append((_SUFFIXES[2], _regex("Cookie", pattern.cookie(cookie, "always")), canary))
        found.append((_SUFFIXES[3], _regex("Cookie", pattern.cookie(cookie, "never")), main))
    return found


def _regex(name: str, value: str) -> table.ValueMatch:
    return table.ValueMatch(name=name, type="regex", value=value)
