"""Kubernetes Events: recorded at once, written in the background, aggregated and bounded.

The same event about the same object raises `count` and `lastTimestamp` of the one already written (client-go's
EventCorrelator). More than 25 different events about one object with one reason become one "(combined from similar
events)". The queue holds 1,000; what does not fit is dropped and counted: Events never hold anybody up.
"""

from __future__ import annotations

import asyncio
import collections
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.client import errors, protocol
from fairlead.client.protocol import Object

QUEUE = 1000
REMEMBERED = 4096
SIMILAR = 25
SIMILAR_SECONDS = 600.0
NAMES = 5  # tried for one Event

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
    ) -> None:
        self.dropped = 0
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._last_stamp = 0
        self._offset = zlib.crc32(component.encode()) % 1_000_000
        self._queue: asyncio.Queue[_Record] = asyncio.Queue(QUEUE)
        self._known: collections.OrderedDict[tuple[str, ...], _Known] = collections.OrderedDict()
        self._similar: collections.OrderedDict[tuple[str, ...], tuple[float, set[str]]] = collections.OrderedDict()
        self._nursery = tasks.Nursery(f"events of {component}", on_failure=on_failure)

    def event(self, obj: Object, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Records that something happened to `obj` (which needs apiVersion, kind and metadata)."""
        try:
            self._queue.put_nowait(_Record(reference_to(obj), type, reason, message[:1024], self._clock.now()))
        except asyncio.QueueFull:
            self.dropped += 1

    def start(self) -> None:
        self._nursery.keep(self._write_all, name="writer", clock=self._clock)

    async def flushed(self) -> None:
        """Returns when all that is recorded has been written (or has failed)."""
        await self._queue.join()

    async def close(self) -> None:
        await self._nursery.close()

    async def _write_all(self) -> None:
        while True:
            record = await self._queue.get()
            try:
                await self._write(record)
            except (errors.ApiError, OSError) as error:
                log.debug("event not written", reason=record.reason, problem=str(error))
            finally:
                self._queue.task_done()

    async def _write(self, record: _Record) -> None:
        record = self._combined(record)
        key = (record.reference["uid"], record.type, record.reason, record.message)
        known = self._known.get(key)
        if known is not None and await self._count(known, record):
            return
        body = await self._create(record)
        self._remember(key, _Known(body["metadata"]["name"], body["metadata"]["namespace"], 1))

    async def _create(self, record: _Record) -> dict[str, Any]:
        """Writes a new Event. Names hold the time; somebody else's Event of the same moment asks for another."""
        for attempt in range(NAMES):
            body = self._body(record)
            try:
                return await self._client.create(kinds.EVENT, body, namespace=body["metadata"]["namespace"])
            except errors.ApiError as error:
                if not error.already_exists or attempt == NAMES - 1:
                    raise
        raise AssertionError("unreachable")

    def _combined(self, record: _Record) -> _Record:
        group = (record.reference["uid"], record.type, record.reason)
        since, messages = self._similar.pop(group, (record.at, set()))
        if record.at - since > SIMILAR_SECONDS:
            since, messages = record.at, set()
        if len(messages) < SIMILAR:
            messages.add(record.message)
        self._similar[group] = (since, messages)
        if len(self._similar) > REMEMBERED:
            self._similar.popitem(last=False)
        if record.message in messages:
            return record
        combined = f"(combined from similar events): {record.message}"
        known = [key for key in self._known if key[:3] == group and key[3].startswith("(combined")]
        text = known[0][3] if known else combined
        return _Record(record.reference, record.type, record.reason, text, record.at)

    async def _count(self, known: _Known, record: _Record) -> bool:
        patch = {"count": known.count + 1, "lastTimestamp": clocks.rfc3339(record.at)}
        try:
            await self._client.patch(kinds.EVENT, known.name, patch, namespace=known.namespace)
        except errors.ApiError as error:
            if error.not_found:  # expired meanwhile: write a new one
                return False
            raise
        known.count += 1
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
            "lastTimestamp": stamp,
            "count": 1,
        }


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
