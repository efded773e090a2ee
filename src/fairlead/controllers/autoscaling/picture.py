"""Replays as one SVG: load, replicas, utilisation and latency over time, a line per spec. Pure text, no library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from xml.sax import saxutils

from fairlead.controllers.autoscaling.replay import Row

WIDTH, HEIGHT, LEFT, GAP = 900, 150, 70, 40
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_PANELS: tuple[tuple[str, Callable[[Row], float]], ...] = (
    ("requests per second", lambda row: row.requests_per_second),
    ("replicas", lambda row: float(row.replicas)),
    ("utilisation, % of request", lambda row: row.utilization),
    ("latency, ms", lambda row: row.latency_seconds * 1000),
)


def render(replays: Mapping[str, Sequence[Row]]) -> str:
    """The picture of the replays, by the name of their spec."""
    height = len(_PANELS) * (HEIGHT + GAP) + GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 20}" height="{height}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']  # fmt: skip
    for index, name in enumerate(replays):
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<text x="{LEFT + 200 * index}" y="20" fill="{colour}">{saxutils.escape(name)}</text>')
    for index, (title, value) in enumerate(_PANELS):
        parts += _panel(title, value, replays, top=GAP + index * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, value: Callable[[Row], float], replays: Mapping[str, Sequence[Row]], *, top: int) -> list[str]:
    every = [row for rows in replays.values() for row in rows]
    highest = max((value(row) for row in every), default=0.0) or 1.0
    first, last = min(row.at for row in every), max(row.at for row in every)
    bottom = top + HEIGHT
    parts = [
        f'<text x="{LEFT}" y="{top - 6}">{title}</text>',
        f'<path d="M{LEFT} {top}V{bottom}H{LEFT + WIDTH}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{highest:g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{LEFT + WIDTH}" y="{bottom + 14}" text-anchor="end">{last:g} s</text>',
    ]
    for index, rows in enumerate(replays.values()):
        points = " ".join(
            f"{LEFT + WIDTH * (row.at - first) / max(last - first, 1):.1f},{bottom - HEIGHT * value(row) / highest:.1f}"
            for row in rows
        )
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return parts
