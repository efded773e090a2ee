"""`$(VAR)` in commands, arguments and environment values, as the kubelet expands it.

`$(NAME)` becomes the value, an unknown name stays as it is written, `$$` is one `$`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_TOKEN = re.compile(r"\$\$|\$\(([^)]*)\)")


def expand(text: str, values: Mapping[str, str]) -> str:
    """The text with its references replaced."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return values.get(name, match.group(0))

    return _TOKEN.sub(replacement, text)


def expand_all(texts: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Each text with its references replaced."""
    return tuple(expand(text, values) for text in texts)
