"""What a benchmark found: a table for people and one line of JSON whose shape tools rely on.

`{"bench", "ours": {figure: value}, "peers": {PEER: {figure: value}}, "ratio": {PEER: ours / theirs in the main figure},
"goals": [{"goal", "value", "limit", "met"}]}`; figures carry their unit in their name. A peer that could not be
measured is in `missing` with the reason, and in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Goal(msgspec.Struct, frozen=True):
    """A limit that a value must not exceed (or, with `at_least`, must reach)."""

    goal: str
    value: float | None
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """A value that was not measured meets nothing."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Report(msgspec.Struct, kw_only=True):
    """The outcome of one benchmark. `main` names the figure of `ratio`."""

    bench: str
    main: str
    ours: dict[str, float]
    peers: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    goals: list[Goal] = msgspec.field(default_factory=list)
    missing: dict[str, str] = msgspec.field(default_factory=dict)
    notes: list[str] = msgspec.field(default_factory=list)
    name: str = "fairlead"
    more: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)  # further rows of ours: algorithms, planes

    def ratios(self) -> dict[str, float]:
        """Ours / theirs in the main figure, for every peer that has it."""
        ours = self.ours.get(self.main)
        if ours is None:
            return {}
        return {
            peer: round(ours / figures[self.main], 4) for peer, figures in self.peers.items() if figures.get(self.main)
        }

    def line(self) -> str:
        """The JSON line."""
        shape: dict[str, Any] = {
            "bench": self.bench,
            "ours": _rounded(self.ours),
            "peers": {peer: _rounded(figures) for peer, figures in self.peers.items()},
            "ratio": self.ratios(),
            "goals": [
                {"goal": goal.goal, "value": _round(goal.value), "limit": goal.limit, "met": goal.met}
                for goal in self.goals
            ],
        }
        if self.more:
            shape["more"] = {row: _rounded(figures) for row, figures in self.more.items()}
        if self.missing:
            shape["missing"] = self.missing
        return msgspec.json.encode(shape).decode()

    def table(self) -> str:
        """The same for people."""
        rows = {name: row for name, row in {self.name: self.ours, **self.more, **self.peers}.items() if row}
        figures = list(dict.fromkeys(figure for row in rows.values() for figure in row))
        lines = _aligned([["", *figures], *[[name, *_cells(row, figures)] for name, row in rows.items()]])
        lines += [f"{peer}: missing: {reason}" for peer, reason in self.missing.items()]
        lines += [f"{self.name} / {peer} in {self.main}: {ratio:.3f}" for peer, ratio in self.ratios().items()]
        lines += [_goal_line(goal) for goal in self.goals]
        return "\n".join([*lines, *self.notes])


def _goal_line(goal: Goal) -> str:
    value = "not measured" if goal.value is None else f"{goal.value:,.4g}"
    sign = ">=" if goal.at_least else "<="
    return f"{'met   ' if goal.met else 'MISSED'}  {goal.goal}: {value} (limit {sign} {goal.limit:,.4g})"


def _cells(row: Mapping[str, float], figures: list[str]) -> list[str]:
    return [_cell(row.get(figure)) for figure in figures]


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(cell, widths, at) for at, cell in enumerate(row)) for row in rows]


def _padded(cell: str, widths: list[int], at: int) -> str:
    return cell.ljust(widths[at]) if at == 0 else cell.rjust(widths[at])


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in figures.items()}
