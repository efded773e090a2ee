"""Kubernetes Events: recorded at once, written in the background, aggregated and bounded.

The same event about the same object raises `count` and `lastTimestamp` of the one already written (client-go's
EventCorrelator). More than 25 different events about one object with one reason become one "(combined from similar
events)". 1,000 may wait; what does not fit is dropped and counted: Events never hold anybody up. They are written in
the order in which they were recorded, some at a time, when nothing is more urgent, a second later at the latest, and
before `finish` returns; what is told several times meanwhile is one write with its count.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.base import leisure as leisures
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.client import errors, protocol
from fairlead.client.protocol import Object

QUEUE = 1000
REMEMBERED = 4096
SIMILAR = 25
SIMILAR_SECONDS = 600.0
NAMES = 5  # tried for one Event
LATEST_SECONDS = 1.0
AT_ONCE = 8  # written side by side
FINISH_SECONDS = 2.0

log = logs.get(__name__)


@dataclass(slots=True)
class _Known:
    name: str
    namespace: str
    count: int


@dataclass(frozen=True, slots=True)
class _Record:
    reference: dict[str, Any]
    type: str
    reason: str
    message: str
    at: float

    @property
    def key(self) -> tuple[str, ...]:
        return self.reference["uid"], self.type, self.reason, self.message


@dataclass(slots=True)
class _Similar:
    """The messages of one reason about one object, and the text that stands for those beyond 25."""

    since: float
    messages: set[str]
    combined: str = ""


class Recorder:
    """Writes Events as one component. Nothing is written before `start`, what is recorded before waits."""

    def __init__(
        self,
        client: protocol.Client,
        *,
        component: str,
        clock: clocks.Clock,
        on_failure: Callable[[str, BaseException], None],
        host: str = "",
        leisure: leisures.Leisure | None = None,
    ) -> None:
        self.dropped = 0
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._last_stamp = 0
        self._offset = zlib.crc32(component.encode()) % 1_000_000
        self._leisure = leisure or leisures.Leisure(clock)
        self._waiting: collections.deque[_Record] = collections.deque()
        self._some = asyncio.Event()
        self._started = asyncio.Event()
        self._writing = asyncio.Lock()
        self._known: collections.OrderedDict[tuple[str, ...], _Known] = collections.OrderedDict()
        self._similar: collections.OrderedDict[tuple[str, ...], _Similar] = collections.OrderedDict()
        self._nursery = tasks.Nursery(f"events of {component}", on_failure=on_failure)

    def event(self, obj: Object, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Records that something happened to `obj` (which needs apiVersion, kind and metadata)."""
        if len(self._waiting) >= QUEUE:
            self.dropped += 1
            return
        self._waiting.append(_Record(reference_to(obj), type, reason, message[:1024], self._clock.now()))
        self._some.set()

    def start(self) -> None:
        self._started.set()
        self._nursery.keep(self._write_all, name="writer", clock=self._clock)

    async def flushed(self) -> None:
        """Writes at once what is recorded; returns when it has been written (or has failed)."""
        await self._started.wait()
        await self._write_waiting()

    async def finish(self) -> None:
        """Writes what is left, unless that takes too long, and closes."""
        if self._started.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS):
                    await self.flushed()
        await self.close()

    async def close(self) -> None:
        """Writes no more."""
        await self._nursery.close()

    async def _write_all(self) -> None:
        while True:
            if not self._waiting:
                self._some.clear()
                await self._some.wait()
            await self._leisure.calm(at_most_seconds=LATEST_SECONDS, unless=lambda: len(self._waiting) > QUEUE // 2)
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        async with self._writing:  # one after another: a count follows what it counts
            while self._waiting:
                alike: dict[tuple[str, ...], list[_Record]] = {}
                while self._waiting and len(alike) < AT_ONCE:
                    record = self._combined(self._waiting.popleft())
                    alike.setdefault(record.key, []).append(record)
                await asyncio.gather(*(self._write(records) for records in alike.values()))

    async def _write(self, records: list[_Record]) -> None:
        first, last = records[0], records[-1]
        try:
            known = self._known.get(first.key)
            if known is not None and await self._count(known, len(records), last.at):
                return
            body = await self._create(first, len(records), last.at)
            self._remember(first.key, _Known(body["metadata"]["name"], body["metadata"]["namespace"], len(records)))
        except (errors.ApiError, OSError) as error:
            log.debug("event not written", reason=first.reason, problem=str(error))

    async def _create(self, record: _Record, count: int, last_at: float) -> dict[str, Any]:
        """Writes a new Event. Names hold the time; somebody else's Event of the same moment asks for another."""
        for attempt in range(NAMES):
            body = {**self._body(record), "lastTimestamp": clocks.rfc3339(last_at), "count": count}
            try:
                return await self._client.create(kinds.EVENT, body, namespace=body["metadata"]["namespace"])
            except errors.ApiError as error:
                if not error.already_exists or attempt == NAMES - 1:
                    raise
        raise AssertionError("unreachable")

    def _combined(self, record: _Record) -> _Record:
        group = (record.reference["uid"], record.type, record.reason)
        similar = self._similar.pop(group, None)
        if similar is None or record.at - similar.since > SIMILAR_SECONDS:
            similar = _Similar(record.at, set(), similar.combined if similar else "")
        if len(similar.messages) < SIMILAR:
            similar.messages.add(record.message)
        self._similar[group] = similar
        if len(self._similar) > REMEMBERED:
            self._similar.popitem(last=False)
        if record.message in similar.messages:
            return record
        similar.combined = similar.combined or f"(combined from similar events): {record.message}"
        return _Record(record.reference, record.type, record.reason, similar.combined, record.at)

    async def _count(self, known: _Known, more: int, last_at: float) -> bool:
        known.count += more
        patch = {"count": known.count, "lastTimestamp": clocks.rfc3339(last_at)}
        try:
            await self._client.patch(kinds.EVENT, known.name, patch, namespace=known.namespace)
        except errors.ApiError as error:
            if error.not_found:  # expired meanwhile: write a new one
                return False
            raise
        return True

    def _remember(self, key: tuple[str, ...], known: _Known) -> None:
        self._known[key] = known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _body(self, record: _Record) -> dict[str, Any]:
        stamp = clocks.rfc3339(record.at)
        self._last_stamp = max(self._last_stamp + 1, int(record.at * 1e9) + self._offset)  # names must differ
        namespace = record.reference.get("namespace") or "default"
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        return {
            "metadata": {"name": f"{record.reference['name']}.{self._last_stamp:x}", "namespace": namespace},
            "involvedObject": record.reference,
            "type": record.type,
            "reason": record.reason,
            "message": record.message,
            "source": source,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": stamp,
        }


def node(name: str) -> dict[str, Any]:
    """A Node, as an Event's object: its uid is its name, as the kubelet says it."""
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}


def reference_to(obj: Object) -> dict[str, Any]:
    """`v1.ObjectReference`."""
    metadata = obj["metadata"]
    found = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    return {name: text for name, text in found.items() if text or name == "uid"}
