"""Read, change, write, and again when somebody else wrote in between (client-go's `retry.RetryOnConflict`)."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

from fairlead.api.kinds import Kind
from fairlead.base import clock as clocks
from fairlead.client import errors, protocol

ATTEMPTS = 5
FIRST_DELAY_SECONDS = 0.01


async def update_on_conflict(
    client: protocol.Client,
    kind: Kind,
    obj: protocol.Object,
    *,
    change: Callable[[protocol.Object], bool],
    clock: clocks.Clock,
    rng: random.Random,
    subresource: str = "",
) -> protocol.Object:
    """Applies `change` (in place; False: nothing to do) to a copy of `obj`, then to newer versions while they conflict.

    Raises the last ApiError after five conflicts, and any other ApiError at once.
    """
    current = copy.deepcopy(obj)
    for attempt in range(ATTEMPTS):
        if not change(current):
            return current
        try:
            return await client.update(kind, current, subresource=subresource)
        except errors.ApiError as error:
            if not error.conflict or attempt == ATTEMPTS - 1:
                raise
        await clock.sleep(FIRST_DELAY_SECONDS * 2**attempt * rng.uniform(0.9, 1.1))
        metadata = obj["metadata"]
        current = await client.get(kind, metadata["name"], namespace=metadata.get("namespace", ""))
    raise AssertionError("unreachable")
