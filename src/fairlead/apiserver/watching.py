"""watch: a stream of JSON lines. An event is encoded once, whoever watches; selectors and Tables are remembered
with it.

Promises: every revision after the given one, once and in order; bookmarks when allowed; `sendInitialEvents`; 410
Expired for a revision that is no longer kept; an end after `timeoutSeconds` (30 to 60 minutes otherwise). A watcher
that stalls is closed and resumes from its last revision.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from fairlead.apiserver import codec, read, requests, resources, status, tables
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
        memo = f"{kind} {self._form} {self._resource.kind.api_version}"
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


def watch(store: protocol.Store, info: requests.Info, resource: resources.Resource) -> exchange.Response:
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
    stream = _stream(store, subscription, lines, entries, info, limit_seconds=limit_seconds, mark=mark)
    return exchange.Response(200, {"content-type": "application/json"}, stream=stream)


async def _stream(
    store: protocol.Store,
    subscription: protocol.Watch,
    lines: _Lines,
    entries: list[protocol.Entry],
    info: requests.Info,
    *,
    limit_seconds: float,
    mark: int,
) -> AsyncIterator[bytes]:
    bookmarks = info.flag("allowWatchBookmarks")
    end = asyncio.get_running_loop().time() + limit_seconds
    try:
        for begin in range(0, len(entries), read.CHUNK):
            if chunk := b"".join(map(lines.initial, entries[begin : begin + read.CHUNK])):
                yield chunk
        if mark:
            yield lines.bookmark(mark, initial_end=True)
        async for chunk in _changes(store, subscription, lines, end=end, bookmarks=bookmarks):
            yield chunk
    finally:
        subscription.close()


async def _changes(
    store: protocol.Store, subscription: protocol.Watch, lines: _Lines, *, end: float, bookmarks: bool
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while (left := end - loop.time()) > 0:
        try:
            async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                events = await subscription.next()
        except TimeoutError:
            if bookmarks and subscription.idle():
                yield lines.bookmark(store.revision)
            continue
        if not events:
            return
        if chunk := b"".join(map(lines.line, events)):
            yield chunk
