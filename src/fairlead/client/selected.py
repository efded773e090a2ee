"""A part of what an informer knows: the objects that a field selector takes, without a list, a watch and a copy of its
own.

An object that begins to be taken is added, one that is taken no more is deleted, as a watch with that selector tells.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from fairlead.api import selectors
from fairlead.base import clock as clocks
from fairlead.client import informer, protocol


class Selected(informer.Informer):
    """An Informer that need not be run: it follows another."""

    def __init__(
        self,
        whole: informer.Informer,
        field_selector: str,
        *,
        client: protocol.Client,
        clock: clocks.Clock,
        rng: random.Random,
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        """Raises SelectorError."""
        super().__init__(client, whole.kind, clock=clock, rng=rng, on_failure=on_failure)
        self._whole = whole
        self._takes = selectors.field_test(field_selector)
        whole.add_handler(self._follow)

    @property
    def resource_version(self) -> str:
        return self._whole.resource_version

    @property
    def synced(self) -> bool:
        return self._whole.synced

    async def wait_synced(self) -> None:
        await self._whole.wait_synced()

    def seen(self, resource_version: str) -> bool:
        return self._whole.seen(resource_version)

    async def run(self) -> None:
        """The other one lists and watches."""

    def _follow(self, change: informer.Change) -> None:
        if change.new is not None and self._takes(change.new):
            self._put(change.key, change.new)
        else:
            self._remove(change.key, change.object)
