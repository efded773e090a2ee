"""Columns: a Printer for each kind, found by Resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.apiserver.printing import ages

Object = dict[str, Any]
Cells = Callable[[Object, float], list[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Priority 1 is shown with `-o wide` only."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def definition(self) -> Object:
        """As a Table writes it."""
        description = self.description or self.name
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": description,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Printer:
    """A kind's columns and the function that fills them."""

    columns: Sequence[Column]
    cells: Cells


def printer(names: str, cells: Cells) -> Printer:
    """A Printer from a text such as "Name Ready Status Restarts:integer Age IP* Node*"; a star is for `-o wide`,
    underscores are spaces."""
    found = []
    for word in names.split():
        name, _, kind = word.rstrip("*").partition(":")
        form = "name" if name == "Name" else ""
        found.append(Column(name.replace("_", " "), kind or "string", 1 if word.endswith("*") else 0, form))
    return Printer(tuple(found), cells)


def _plain(obj: Object, now: float) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]


PLAIN = printer("Name Created_At", _plain)
_AGED = printer("Name Age", lambda obj, now: [obj["metadata"]["name"], ages.age(obj, now)])


def of(resource: Any) -> Printer:
    """The Printer of a Resource."""
    from fairlead.apiserver.printing import custom, kinds

    if resource.custom:
        return custom.printer_of(resource)
    return kinds.PRINTERS.get(str(resource.stored), _AGED)
