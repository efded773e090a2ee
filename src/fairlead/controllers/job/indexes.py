"""Completion indexes of Indexed Jobs: "0-2,5" and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.controllers.writes import Object

ANNOTATION = "batch.kubernetes.io/job-completion-index"


def parse(text: str) -> set[int]:
    """The indexes in `status.completedIndexes`; what cannot be read is left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), int(last or first) + 1))
    return found


def render(indexes: Iterable[int]) -> str:
    """Runs are written as first-last, as Kubernetes does."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def of(pod: Object) -> int | None:
    """The index of a pod."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    return int(text) if text.isdigit() else None
