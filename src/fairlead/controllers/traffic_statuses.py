"""Statuses that a translation wants objects to have, written one after the other while no change waits for the planes.

Promises: a status is written when it is another than the object has; the newest one that is wanted counts; thousands of
them (after many objects came at once) never stand between a change and the traffic: before each write the writer waits
until what has changed was sent. An object that somebody else wrote to is looked at again with the next translation.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.api.kinds import Kind
from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.client import errors, informer, protocol
from fairlead.routing import translate

log = logs.get(__name__)
BREATH = 200  # statuses found right in one step of the loop
Key = tuple[str, str]  # kind, namespace/name


class Statuses:
    """The writer. `calm` is set while no change waits to be sent; `idle` when all that is wanted has been written."""

    def __init__(
        self,
        client: protocol.Client,
        known: Mapping[Kind, informer.Informer],
        *,
        clock: clocks.Clock,
        calm: asyncio.Event,
    ) -> None:
        self.idle = asyncio.Event()
        self.idle.set()
        self._client, self._clock, self._calm = client, clock, calm
        self._informers = {kind.kind: (kind, one) for kind, one in known.items()}
        self._known: dict[int, translate.Status] = {}  # by identity
        self._by_key: dict[Key, translate.Status] = {}
        self._touched: set[Key] = set()
        self._pending: collections.OrderedDict[Key, None] = collections.OrderedDict()
        self._wanted = asyncio.Event()

    def touched(self, kind: Kind, key: str) -> None:
        """The object is another than before."""
        self._touched.add((kind.kind, key))

    def want(self, statuses: Sequence[translate.Status]) -> None:
        """From now on these are wanted; those that were found right before, and their objects, are not looked at."""
        now = dict(zip(map(id, statuses), statuses, strict=True))
        for one in (self._known[old] for old in self._known.keys() - now.keys()):
            if self._by_key.get(_key(one)) is one:
                del self._by_key[_key(one)]
        fresh = {_key(one): one for one in (now[new] for new in now.keys() - self._known.keys())}
        self._known = now
        self._by_key.update(fresh)
        self._pending.update(dict.fromkeys(fresh))
        self._pending.update(dict.fromkeys(key for key in self._touched if key in self._by_key))
        self._touched.clear()
        if self._pending:
            self.idle.clear()
            self._wanted.set()

    async def run(self) -> None:
        """Writes for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            looked = 0
            while self._pending:
                key, _ = self._pending.popitem(last=False)
                try:
                    await self._look(key)
                except BaseException:
                    self._pending[key] = None  # after the others
                    self._wanted.set()
                    raise
                looked += 1
                if looked % BREATH == 0:
                    await asyncio.sleep(0)
            self.idle.set()

    async def _look(self, key: Key) -> None:
        wanted = self._by_key.get(key)
        kind, one = self._informers[key[0]]
        obj = one.cache.get(key[1])
        if wanted is None or obj is None:
            return
        known = obj.get("status") or {}
        asked = stamped(wanted.status, known, now=clocks.rfc3339(self._clock.now()))
        if says(known, asked):
            return
        await self._calm.wait()
        await self._write(kind, wanted, {"status": asked})

    async def _write(self, kind: Kind, wanted: translate.Status, patch: Mapping[str, Any]) -> None:
        try:
            await self._client.patch(kind, wanted.name, dict(patch), namespace=wanted.namespace, subresource="status")
        except errors.ApiError as error:
            if not error.not_found:
                log.warning("status not written", object=f"{wanted.kind}/{wanted.namespace}/{wanted.name}", error=error)


def _key(status: translate.Status) -> Key:
    name = f"{status.namespace}/{status.name}" if status.namespace else status.name
    return status.kind, name


def stamped(wanted: Mapping[str, Any], known: Mapping[str, Any], *, now: str) -> dict[str, Any]:
    """A status whose conditions have their times: those of the known status where they say the same."""
    if "conditions" in wanted:
        return {**wanted, "conditions": _timed(wanted["conditions"], known.get("conditions") or (), now)}
    if "ancestors" not in wanted:
        return dict(wanted)
    before: dict[str, list[Mapping[str, Any]]] = {}
    for one in known.get("ancestors") or ():
        before.setdefault(str(one.get("ancestorRef")), []).extend(one.get("conditions") or ())
    ancestors = [
        {**one, "conditions": _timed(one["conditions"], before.get(str(one["ancestorRef"]), ()), now)}
        for one in wanted["ancestors"]
    ]
    return {**wanted, "ancestors": ancestors}


def _timed(wanted: Sequence[Mapping[str, Any]], known: Iterable[Mapping[str, Any]], now: str) -> list[dict[str, Any]]:
    before = {(one.get("type"), one.get("status")): one.get("lastTransitionTime", now) for one in known}
    return [{**one, "lastTransitionTime": before.get((one["type"], one["status"]), now)} for one in wanted]


def says(status: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether it is all there already; nothing is as good as an empty list."""
    return all((status.get(name) or None) == (value or None) for name, value in wanted.items())
