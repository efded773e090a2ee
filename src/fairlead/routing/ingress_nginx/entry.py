"""What an annotation or ConfigMap key is to us: one line of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.routing.ingress_nginx import values

Treatment = Literal["honoured", "idle", "refused"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One name.

    `honoured`: it works. `idle`: accepted, and `note` says why it has no meaning here. `refused`: `note` is the reason;
    `harmless` are values that ask for nothing. `differs`: clients may notice a difference, which `note` names. A name
    that `guards` decides who may come in: where it is refused or wrong, its paths answer 503 instead of being open.
    """

    name: str
    treatment: Treatment
    note: str = ""
    parse: Callable[[str], Any] = values.text
    guards: bool = False
    harmless: tuple[str, ...] = ()
    differs: bool = False


def honoured(name: str, parse: Callable[[str], Any], differs: str = "", *, guards: bool = False) -> Entry:
    return Entry(name, "honoured", differs, parse, guards, differs=bool(differs))


def idle(name: str, note: str, parse: Callable[[str], Any] = values.plain, *, differs: bool = False) -> Entry:
    return Entry(name, "idle", note, parse, differs=differs)


def refused(name: str, reason: str, *, guards: bool = False, harmless: tuple[str, ...] = ()) -> Entry:
    return Entry(name, "refused", reason, values.plain, guards, harmless)
