"""Ends the controllers after their n-th write, with the answer lost, as `kill -9` would: for tests that restart them.

`runs(n)` of a plan for n = 1, 2, 3 and so on until a run makes no n-th write shows every state that a plan can be
left in.
"""

from __future__ import annotations

import asyncio

from fairlead.client import exchange


class Interruption:
    """An Exchange in front of another. After `after` writes nothing is answered any more; `happened` is set then."""

    def __init__(self, behind: exchange.Exchange, *, after: int) -> None:
        self.writes = 0
        self.happened = asyncio.Event()
        self._behind = behind
        self._after = after

    async def __call__(self, request: exchange.Request) -> exchange.Response:
        if self.happened.is_set() and request.method != "GET":
            await asyncio.Event().wait()
        response = await self._behind(request)
        if request.method != "GET" and "/events" not in request.path:
            self.writes += 1
            if self.writes == self._after:
                self.happened.set()
                await asyncio.Event().wait()
        return response
