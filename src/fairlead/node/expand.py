"""`$(VAR)` in commands, arguments and environment values, as the kubelet expands it.

`$(NAME)` becomes the value, an unknown name stays as it is written, `$$` is one `$`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_TOKEN = re.compile(r"\$\$|\$\(([^)]*)\)")


def expand(text: str, values: Mapping[str, str]) -> str:
    """The text with its references replaced."""
    if "$" not in text:
        return text

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return values.get(name, match.group(0))

    return _TOKEN.sub(replacement, text)


def missing(text: str, values: Mapping[str, str]) -> list[str]:
    """The names in references of the text that have no value, or an empty one."""
    return [name for name in _TOKEN.findall(text) if name and not values.get(name)]


def expand_all(texts: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Each text with its references replaced."""
    return tuple(expand(text, values) for text in texts)
