"""Informers that controllers share: one list and one watch per kind, however many ask. What a field selector takes is a
part of what is known anyway."""

from __future__ import annotations

import asyncio
import random

from fairlead.api.kinds import Kind
from fairlead.base import clock as clocks
from fairlead.base import tasks
from fairlead.client import informer, protocol, selected


class Informers:
    """Makes each informer once. Those asked for after `start` start at once."""

    def __init__(
        self,
        client: protocol.Client,
        *,
        clock: clocks.Clock,
        rng: random.Random,
        on_failure: informer.Failure,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._on_failure = on_failure
        self._nursery = tasks.Nursery("informers", on_failure=on_failure)
        self._informers: dict[tuple[Kind, str, str, str], informer.Informer] = {}
        self._tasks: dict[informer.Informer, asyncio.Task[None]] = {}
        self._started = False

    def of(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> informer.Informer:
        """The informer of that kind and selection."""
        wanted = (kind, namespace, label_selector, field_selector)
        if wanted not in self._informers:
            self._informers[wanted] = self._made(wanted)
            if self._started:
                self._run(self._informers[wanted])
        return self._informers[wanted]

    def _made(self, wanted: tuple[Kind, str, str, str]) -> informer.Informer:
        kind, namespace, labels, fields = wanted
        if fields:
            return selected.Selected(
                self.of(kind, namespace=namespace, label_selector=labels),
                fields,
                client=self._client,
                clock=self._clock,
                rng=self._rng,
                on_failure=self._on_failure,
            )
        return informer.Informer(
            self._client,
            kind,
            clock=self._clock,
            rng=self._rng,
            on_failure=self._on_failure,
            namespace=namespace,
            label_selector=labels,
        )

    def start(self) -> None:
        """Runs every informer, once."""
        self._started = True
        for one in self._informers.values():
            if one not in self._tasks:
                self._run(one)

    def _run(self, one: informer.Informer) -> None:
        self._tasks[one] = self._nursery.keep(one.run, name=str(one.kind), clock=self._clock)

    def drop(self, kind: Kind) -> None:
        """Ends the informers of a kind that is no longer served."""
        for wanted, one in list(self._informers.items()):
            if wanted[0] == kind:
                del self._informers[wanted]
                if (task := self._tasks.pop(one, None)) is not None:
                    task.cancel()

    async def wait_synced(self) -> None:
        """Returns when every informer has its first list."""
        await asyncio.gather(*(one.wait_synced() for one in list(self._informers.values())))

    def problems(self) -> list[str]:
        """What keeps informers from being up to date."""
        return [one.problem for one in self._informers.values() if one.problem]

    async def close(self) -> None:
        """Ends the watches."""
        await self._nursery.close()
