"""Warnings that an API server sends with its answers (`Warning: 299 - "…"`), for whoever wants to show them.

Who asks does so inside `warnings()`; what is asked elsewhere at the same time is not heard. Each text comes once.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Iterator, Mapping

_LISTENING: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("fairlead_warnings", default=None)
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


@contextlib.contextmanager
def warnings() -> Iterator[list[str]]:
    """The texts of all answers inside, in order; the list grows as they come."""
    heard: list[str] = []
    token = _LISTENING.set(heard)
    try:
        yield heard
    finally:
        _LISTENING.reset(token)


def hear(headers: Mapping[str, str]) -> None:
    """Takes the warnings of an answer's headers, if somebody listens."""
    heard = _LISTENING.get()
    if heard is not None and "warning" in headers:
        texts = (re.sub(r"\\(.)", r"\1", text) for text in _WARNING.findall(headers["warning"]))
        heard += [text for text in texts if text not in heard]
