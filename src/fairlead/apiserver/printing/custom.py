"""The columns of a custom resource: its `additionalPrinterColumns`, or AGE."""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.printing import ages, columns, jsonpath

Object = dict[str, Any]


def printer_of(resource: Any) -> columns.Printer:
    """The Printer of a custom Resource."""
    wanted = resource.columns
    shown = [columns.Column("Name", format="name")]
    shown += [columns.Column(c.name, c.type, c.priority, c.format, c.description) for c in wanted]
    if not wanted:
        shown.append(columns.Column("Age", "date"))

    def cells(obj: Object, now: float) -> list[Any]:
        found: list[Any] = [obj["metadata"]["name"]]
        found += [_cell(obj, column, now) for column in wanted]
        return found if wanted else [*found, ages.age(obj, now)]

    return columns.Printer(shown, cells)


def _cell(obj: Object, column: Any, now: float) -> Any:
    values = jsonpath.find(obj, column.path)
    if not values:
        return None
    value = values[0]
    if column.type == "date":
        return ages.since(value, now)
    if column.type == "string" and not isinstance(value, str):
        return jsonpath.text(values if len(values) > 1 else value)
    return value
