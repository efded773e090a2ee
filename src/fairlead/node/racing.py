"""Waiting for whichever comes first: an end, somebody in a hurry, a deadline. The losers are cancelled and awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first(wanted: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, Any]) -> T | None:
    """The result of `wanted` (or what it raises) when it is done at the end of the race, else None."""
    running = asyncio.ensure_future(wanted)
    rest = [asyncio.ensure_future(other) for other in others]
    try:
        await asyncio.wait([running, *rest], return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else None
    finally:
        for task in (running, *rest):
            task.cancel()
        await asyncio.gather(running, *rest, return_exceptions=True)
