"""Turns and medians: every candidate is measured once a round, in an order that moves on by one each round, so that
what the machine does meanwhile hits all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from bench import lab

Figures = dict[str, float]
T = TypeVar("T")


def order(names: Sequence[str], turn: int) -> list[str]:
    """The names, rotated by the round's number."""
    shift = turn % len(names) if names else 0
    return [*names[shift:], *names[:shift]]


def medians(samples: Sequence[Mapping[str, float]]) -> Figures:
    """Figure by figure over the rounds; a figure that a round lacks is left out of that median."""
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    return {name: statistics.median(sample[name] for sample in samples if name in sample) for name in names}


async def in_turn(
    lab_: lab.Lab,
    candidates: Mapping[str, T],
    count: int,
    measure: Callable[[T], Awaitable[Figures]],
    *,
    missing: dict[str, str] | None = None,
) -> dict[str, Figures]:
    """Measures each candidate `count` times, in turn. Returns each one's medians. One whose run fails (RuntimeError)
    has no figures; it is named in `missing` with the reason, or, without that, the failure is the caller's."""
    samples: dict[str, list[Figures]] = {name: [] for name in candidates}
    for turn in range(count):
        for name in order(list(samples), turn):
            try:
                figures = await measure(candidates[name])
            except RuntimeError as error:
                if missing is None:
                    raise
                missing[name] = f"round {turn + 1}: {str(error).splitlines()[0]}"
                lab_.progress(f"{name}: {error}")
                del samples[name]
                continue
            samples[name].append(figures)
            lab_.progress(f"round {turn + 1}/{count} {name}: {describe(figures)}")
    return {name: medians(of_one) for name, of_one in samples.items()}


def describe(figures: Mapping[str, float]) -> str:
    """The first figures, for a line of progress."""
    return ", ".join(f"{name} {value:,.4g}" for name, value in list(figures.items())[:4])
