"""A value that must not be printed: its repr and str are redacted, `reveal()` is easy to search for."""

from __future__ import annotations


class Secret:
    """Holds a text that logs and tracebacks never show."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"
