"""watch: a stream of JSON lines. An event is encoded once, whoever watches; selectors and Tables are remembered
with it. Where the transport takes bytes at once (`pour`), a change reaches all watchers in one pass of the loop,
without waking a task for each of them, and watches that want the same bytes share them (`broadcast`).

Promises: every revision after the given one, once and in order; bookmarks when allowed; `sendInitialEvents`; 410
Expired for a revision that is no longer kept; an end after `timeoutSeconds` (30 to 60 minutes otherwise). A watcher
that stalls is closed and resumes from its last revision.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fairlead.apiserver import broadcast, codec, read, requests, resources, status, tables
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
BOOKMARK_SECONDS = 60.0


class _Lines:
    """Makes the lines of one watch."""

    def __init__(self, info: requests.Info, resource: resources.Resource) -> None:
        self._info = info
        self._resource = resource
        self._match = read.matcher(info, resource)
        self._form = codec.table_wanted(info)
        self._columns = True
        self.shared = self._match is None and self._form in ("", "partial")
        self.form = f"{self._form} {resource.kind.api_version}"
        self._memos = {
            kind: f"{kind} {self._form} {resource.kind.api_version}" for kind in ("ADDED", "MODIFIED", "DELETED")
        }

    def line(self, event: protocol.Event) -> bytes:
        """The line of an event, or b"" when it does not concern this watch."""
        kind = "DELETED" if event.deleted else "ADDED" if event.previous is None else "MODIFIED"
        if self._match is not None:
            before = event.previous is not None and self._match(event.previous)
            now = not event.deleted and self._match(event.entry)
            if not before and not now:
                return b""
            kind = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        return self._encoded(event, kind)

    def _encoded(self, event: protocol.Event, kind: str) -> bytes:
        if self._form and self._form != "partial":
            return self._wrapped(kind, event.entry)
        memo = self._memos[kind]
        found: bytes | None = event.memo.get(memo)
        if found is None:
            found = event.memo[memo] = self._wrapped(kind, event.entry)
        return found

    def initial(self, entry: protocol.Entry) -> bytes:
        """The line of an object that was there before."""
        if self._match is not None and not self._match(entry):
            return b""
        return self._wrapped("ADDED", entry)

    def _wrapped(self, kind: str, entry: protocol.Entry) -> bytes:
        return b'{"type":"' + kind.encode() + b'","object":' + self._body(entry) + b"}\n"

    def _body(self, entry: protocol.Entry) -> bytes:
        if not self._form:
            return read.value(entry, self._resource)
        obj = read.view(entry, self._resource)
        if self._form == "partial":
            return codec.encode(tables.partial(obj))
        found = tables.table(self._resource, [obj], "", self._info, version=self._form)
        if not self._columns:
            found["columnDefinitions"] = None
        self._columns = False
        return codec.encode(found)

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        """The line that says how far the watch is."""
        kind = self._resource.kind
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        if self._form == "partial":
            obj = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        elif self._form:
            row = {"cells": [], "object": {**obj, "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}}
            obj = {"kind": "Table", "apiVersion": f"meta.k8s.io/{self._form}", "metadata": metadata}
            obj |= {"columnDefinitions": None, "rows": [row]}
        return codec.encode({"type": "BOOKMARK", "object": obj}) + b"\n"


def watch(
    store: protocol.Store, info: requests.Info, resource: resources.Resource, groups: broadcast.Groups
) -> exchange.Response:
    """Starts a watch: everything that can be refused is refused here."""
    lines = _Lines(info, resource)
    prefix = resource.prefix(info.namespace)
    version = info.first("resourceVersion")
    start = read.parse_version(version)
    initial = info.flag("sendInitialEvents")
    if initial and info.first("resourceVersionMatch") != "NotOlderThan":
        raise status.failure(
            422,
            "Invalid",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )
    if info.query.get("sendInitialEvents") and initial and not info.flag("allowWatchBookmarks"):
        raise status.failure(422, "Invalid", "allowWatchBookmarks: Forbidden: sendInitialEvents requires it to be true")
    try:
        if start and not initial:
            entries: list[protocol.Entry] = []
            subscription = store.watch(prefix, after=start)
        else:
            store.page(prefix, limit=1, revision=max(start, store.revision))  # refuses a revision that has not been
            wants_state = initial or "sendInitialEvents" not in info.query
            entries = store.page(prefix).entries if wants_state else []
            subscription = store.watch(prefix, after=store.revision)
    except protocol.Compacted as error:
        raise status.expired(str(error)) from error
    except protocol.FutureRevision as error:
        raise status.timeout(str(error)) from error
    limit_seconds = float(info.number("timeoutSeconds")) or random.uniform(1800, 3600)  # noqa: S311 -- spreads reconnects
    mark = store.revision if initial else 0
    running = _Running(store, subscription, lines, entries, prefix=prefix)
    running.mark, running.groups = mark, groups
    running.end = asyncio.get_running_loop().time() + limit_seconds
    running.bookmarks = info.flag("allowWatchBookmarks")
    return exchange.Response(200, {"content-type": "application/json"}, stream=running.stream(), pour=running.pour)


class _Running:
    """One watch. Its reader takes either `stream` or `pour`."""

    def __init__(
        self,
        store: protocol.Store,
        subscription: protocol.Watch,
        lines: _Lines,
        entries: list[protocol.Entry],
        *,
        prefix: str,
    ) -> None:
        self._store = store
        self._subscription = subscription
        self._lines = lines
        self._entries = entries
        self._prefix = prefix
        self.mark = 0
        self.end = 0.0
        self.bookmarks = False
        self.groups: broadcast.Groups

    async def stream(self) -> AsyncIterator[bytes]:
        """The lines, in pieces, as the reader asks for them."""
        try:
            for chunk in self._initial():
                yield chunk
            while (left := self._left()) > 0:
                try:
                    async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                        events = await self._subscription.next()
                except TimeoutError:
                    if chunk := self._bookmark():
                        yield chunk
                    continue
                if not events:
                    return
                if chunk := b"".join(map(self._lines.line, events)):
                    yield chunk
        finally:
            self._subscription.close()

    async def pour(self, sink: exchange.Sink) -> None:
        """The same into a sink. Raises ConnectionError when the reader has gone or has stalled."""
        try:
            for chunk in self._initial():
                if not sink.put(sink.frame(chunk)):
                    await sink.drained()
            self._entries = []
            while self._left() > 0:
                shared = self._lines.shared and self._subscription.idle()
                member = (
                    self.groups.join(self._prefix, self._lines.form, self._lines.line, sink=sink) if shared else None
                )
                if not await (self._pour_shared(member, sink) if member else self._pour_changes(sink)):
                    return
        finally:
            self._subscription.close()

    async def _pour_shared(self, member: broadcast.Member, sink: exchange.Sink) -> bool:
        """As a member of a group, until the sink is full and empty again; False when the watch has ended."""
        self._subscription.close()
        try:
            while (left := self._left()) > 0:
                await asyncio.wait({member.released}, timeout=min(left, BOOKMARK_SECONDS))
                if member.released.done():
                    subscription = member.taken()
                    if subscription is None:
                        return False
                    self._subscription = subscription
                    return await self._drained(sink)
                if not sink.put(sink.frame(self._bookmark() if member.group.up_to_date() else b"")):
                    await sink.drained()
        finally:
            member.leave()
        return False

    async def _pour_changes(self, sink: exchange.Sink) -> bool:
        """With a subscription of its own, until it may join others, it is time for a bookmark, or the sink is full and
        empty again; False when the watch has ended."""
        failure: list[Exception] = []

        def listener(events: list[protocol.Event]) -> bool:
            try:
                return sink.put(sink.frame(b"".join(map(self._lines.line, events)))) and not self._lines.shared
            except Exception as error:  # in the middle of the store's work for everybody: raised where it belongs
                failure.append(error)
                return False

        self._subscription.listen(listener)
        try:
            async with asyncio.timeout(min(max(self._left(), 0), BOOKMARK_SECONDS)):
                going = await self._subscription.released()
        except TimeoutError:
            return sink.put(sink.frame(self._bookmark())) or await self._drained(sink)
        if failure:
            raise failure[0]
        return going and await self._drained(sink)

    async def _drained(self, sink: exchange.Sink) -> bool:
        drained = asyncio.ensure_future(sink.drained())
        ended = asyncio.ensure_future(self._subscription.ended())
        try:
            await asyncio.wait({drained, ended}, timeout=max(self._left(), 0), return_when=asyncio.FIRST_COMPLETED)
            if not drained.done():
                raise ConnectionResetError("the reader of a watch has stalled")
            drained.result()
        finally:
            drained.cancel()
            ended.cancel()
        return True

    def _initial(self) -> Iterator[bytes]:
        for begin in range(0, len(self._entries), read.CHUNK):
            if chunk := b"".join(map(self._lines.initial, self._entries[begin : begin + read.CHUNK])):
                yield chunk
        if self.mark:
            yield self._lines.bookmark(self.mark, initial_end=True)

    def _bookmark(self) -> bytes:
        """The bookmark that is due, or b""."""
        return self._lines.bookmark(self._store.revision) if self.bookmarks and self._subscription.idle() else b""

    def _left(self) -> float:
        return self.end - asyncio.get_running_loop().time()
