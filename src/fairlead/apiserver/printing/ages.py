"""Durations as kubectl prints them (`k8s.io/apimachinery/pkg/util/duration`)."""

from __future__ import annotations

from typing import Any

from fairlead.base import clock as clocks

UNKNOWN = "<unknown>"


def human(seconds: float) -> str:
    """2m13s, 5h, 3d4h, 2y12d."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes = total // 60
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8:
        return f"{years}y{days % 365}d" if days % 365 else f"{years}y"
    return f"{years}y"


def since(stamp: Any, now: float) -> str:
    """The age of a timestamp."""
    if not isinstance(stamp, str) or not stamp:
        return UNKNOWN
    try:
        return human(now - clocks.parse_rfc3339(stamp))
    except ValueError:
        return UNKNOWN


def age(obj: dict[str, Any], now: float) -> str:
    """An object's AGE column."""
    return since(obj["metadata"].get("creationTimestamp"), now)
