"""`fairlead.dev/panic: "200%"`: a short window that only scales up when the load outruns the long one. Pure.

After Knative: when the short window asks for at least that percentage of the pods that are ready, the HPA panics for
60 s after the last such moment. While it does, it goes by the larger of the two windows, does not wait for the
scale-up stabilization, and never goes down. Policies, min and max hold as always.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api.problem import Problem
from fairlead.controllers.writes import Object

ANNOTATION = "fairlead.dev/panic"
SECONDS = 60.0
SHARE = 0.2  # of the long window is the short one, but at least
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class State:
    """Until when an HPA panics, and the most that was asked for meanwhile."""

    until: float = 0.0
    most: int = 0


def read(hpa: Object) -> float | Problem | None:
    """The threshold as a ratio (2.0 for "200%"); a Problem for what is no percentage over 100; None without one."""
    text = (hpa["metadata"].get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None
    number = text.removesuffix("%")
    if not text.endswith("%") or not number.isascii() or not number.isdigit() or int(number) <= 100:
        name = f"HorizontalPodAutoscaler/{hpa['metadata']['namespace']}/{hpa['metadata']['name']}"
        message = f'{text!r} is not a percentage over 100, such as "200%"'
        return Problem(name, f"metadata.annotations[{ANNOTATION}]", "InvalidAnnotation", message)
    return int(number) / 100


def window_seconds(long_seconds: float) -> float:
    return max(SHORTEST_SECONDS, long_seconds * SHARE)


def advance(state: State, *, threshold: float, short: int | None, ready: int, now: float) -> State:
    """The state after the short window asked for `short` replicas (None: it could not tell)."""
    if short is not None and ready > 0 and short >= threshold * ready:
        return State(now + SECONDS, max(short, state.most if state.until > now else 0))
    return state if state.until > now else State()
