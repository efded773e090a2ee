"""One kind of object, kept up to date: list once, watch, resume where the watch ended.

Promises: handlers are called synchronously, in the order of the changes, after the cache holds them; a handler added
late is told of every object first; a watch that ends is resumed at the last version seen (bookmarks count); a version
that is too old (410) leads to a new list, whose differences are told as changes; failures back off from 50 ms to 30 s
and are visible in `problem`; a kind that the server does not have counts as synced and empty. A handler that raises
is reported and harms nobody else. `metadata.managedFields` is left out of the cache: nobody decides by it, and it is
half of an object.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fairlead.api.kinds import Kind
from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.client import cache, errors, protocol
from fairlead.client.protocol import Object

PAGE = 500
FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 30.0
SHORT_WATCH_SECONDS = 1.0
BREATH = 32  # changes told in one step of the loop

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one object; `old` is None when it is new to the cache, `new` when it is gone."""

    type: Literal["added", "modified", "deleted"]
    key: str
    old: Object | None
    new: Object | None

    @property
    def object(self) -> Object:
        """The newest state that is known."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found


Handler = Callable[[Change], None]
Failure = Callable[[str, BaseException], None]


class Informer:
    """`run` it as a task; read `cache`; be told by handlers."""

    def __init__(
        self,
        client: protocol.Client,
        kind: Kind,
        *,
        clock: clocks.Clock,
        rng: random.Random,
        on_failure: Failure,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.kind = kind
        self.problem = ""
        self._client = client
        self._clock = clock
        self._rng = rng
        self._on_failure = on_failure
        self._namespace, self._labels, self._fields = namespace, label_selector, field_selector
        self._cache = cache.OwnedCache()
        self._handlers: list[Handler] = []
        self._version = ""
        self._relist = True
        self._listed = asyncio.Event()

    @property
    def cache(self) -> cache.Cache:
        return self._cache

    @property
    def resource_version(self) -> str:
        """Everything up to here is in the cache."""
        return self._version

    @property
    def synced(self) -> bool:
        """The first list is in the cache and its handlers have been called."""
        return self._listed.is_set()

    async def wait_synced(self) -> None:
        await self._listed.wait()

    def seen(self, resource_version: str) -> bool:
        """Whether the cache includes that version (KEP-5504: versions of one kind are comparable integers)."""
        if not resource_version.isdigit() or not self._version.isdigit():
            return True
        return int(self._version) >= int(resource_version)

    def add_handler(self, handler: Handler) -> None:
        """Calls the handler for every object known and every change to come."""
        self._handlers.append(handler)
        for key in self._cache.keys():  # noqa: SIM118  a Cache is not a dict
            self._call(handler, Change("added", key, None, self._cache.get(key)))

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        failures = 0
        while True:
            started = self._clock.monotonic()
            try:
                if self._relist:
                    await self._list()
                changes = await self._watch()
                self.problem = ""
                short = not changes and self._clock.monotonic() - started < SHORT_WATCH_SECONDS
                failures = failures + 1 if short else 0
            except errors.ApiError as error:
                failures = failures + 1 if not error.gone or failures else 0
                self._relist = self._relist or error.gone
                if error.not_found and not self.synced:
                    self._listed.set()  # a kind that this server does not have: there is nothing of it
                self._say(f"{self.kind}: {error}", first=failures == 1)
            except (OSError, EOFError, TimeoutError) as error:
                failures += 1
                self._say(f"{self.kind}: {error!r}", first=failures == 1)
            if failures:
                await self._clock.sleep(self._backoff_seconds(failures))

    def _backoff_seconds(self, failures: int) -> float:
        delay = FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 16)
        return float(min(delay, MAX_BACKOFF_SECONDS) * self._rng.uniform(0.8, 1.2))

    def _say(self, problem: str, *, first: bool) -> None:
        self.problem = problem
        (log.warning if first else log.debug)("watch interrupted", kind=str(self.kind), problem=problem)

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        token = ""
        while True:
            page = await self._client.list(
                self.kind,
                namespace=self._namespace,
                label_selector=self._labels,
                field_selector=self._fields,
                limit=PAGE,
                continue_token=token,
            )
            found.update((cache.key_of(obj), obj) for obj in page.items)
            token = page.continue_token
            if not token:
                break
        await self._replace(found)
        self._version, self._relist = page.resource_version, False
        self._listed.set()

    async def _replace(self, found: dict[str, Object]) -> None:
        gone = [key for key in self._cache.keys() if key not in found]  # noqa: SIM118
        for key in gone:
            self._remove(key, None)
        for count, (key, obj) in enumerate(found.items(), start=1):
            self._put(key, obj)
            if count % BREATH == 0:
                await asyncio.sleep(0)

    async def _watch(self) -> int:
        changes = 0
        events = self._client.watch(
            self.kind,
            namespace=self._namespace,
            resource_version=self._version,
            label_selector=self._labels,
            field_selector=self._fields,
        )
        async with contextlib.aclosing(events):
            async for event in events:
                self._version = event.object["metadata"]["resourceVersion"]
                if event.type in ("ADDED", "MODIFIED"):
                    self._put(cache.key_of(event.object), event.object)
                elif event.type == "DELETED":
                    self._remove(cache.key_of(event.object), event.object)
                changes += 1
                if changes % BREATH == 0:
                    await asyncio.sleep(0)  # a burst is many short steps, not one long one
        return changes

    def _put(self, key: str, obj: Object) -> None:
        obj["metadata"].pop("managedFields", None)
        old = self._cache.get(key)
        if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            self._remove(key, old)  # deleted and made anew while nobody watched: never one change
            old = None
        if old is not None and old["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion"):
            return
        self._cache.put(key, obj)
        self._tell(Change("added" if old is None else "modified", key, old, obj))

    def _remove(self, key: str, last: Object | None) -> None:
        old = self._cache.remove(key)
        if old is not None:
            self._tell(Change("deleted", key, last or old, None))

    def _tell(self, change: Change) -> None:
        for handler in self._handlers:
            self._call(handler, change)

    def _call(self, handler: Handler, change: Change) -> None:
        try:
            handler(change)
        except Exception as error:
            log.error("handler failed", error=error, kind=str(self.kind), key=change.key)
            self._on_failure(f"handler of {self.kind} {change.key}", error)

    def __repr__(self) -> str:
        state = "synced" if self.synced else "not synced"
        return f"<Informer {self.kind}: {len(self._cache)} objects at {self._version or '?'}, {state}{self.problem}>"
