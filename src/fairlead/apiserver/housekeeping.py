"""What the API server does by itself: compaction, Events that expire, pods that waited for their node.

History of the last five minutes stays; Events live for an hour after their last occurrence; a pod that did not fit its
node is looked at again whenever a node changes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fairlead.apiserver import chain as chains
from fairlead.apiserver import codec, requests, write
from fairlead.apiserver.behaviours import pods
from fairlead.base import clock as clocks
from fairlead.base import garbage
from fairlead.client import errors, exchange
from fairlead.store import protocol

Object = dict[str, Any]
COMPACT_SECONDS = 300.0
EVENT_SECONDS = 3600.0


async def compact(store: protocol.Store, clock: clocks.Clock) -> None:
    """Forgets history that is older than five minutes, every five minutes."""
    before = store.revision
    while True:
        await clock.sleep(COMPACT_SECONDS)
        await store.compact(before)
        await asyncio.to_thread(garbage.give_back)
        before = store.revision


async def expire_events(store: protocol.Store, clock: clocks.Clock) -> None:
    """Removes Events an hour after they last happened."""
    while True:
        await clock.sleep(60.0)
        limit = clock.now() - EVENT_SECONDS
        for index, entry in enumerate(store.page("events/").entries):
            event = codec.decode(entry.value)
            if _last(event) < limit:
                try:
                    await store.delete(entry.key, write.encoder(event), expected=entry.revision)
                except protocol.Conflict:
                    continue  # it happened again
            elif index % 256 == 0:
                await asyncio.sleep(0)


def _last(event: Object) -> float:
    for stamp in (
        (event.get("series") or {}).get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    ):
        if stamp:
            try:
                return clocks.parse_rfc3339(stamp)
            except ValueError:
                continue
    return 0.0


async def place_waiting_pods(parts: chains.Chain, identity: exchange.Identity) -> None:
    """Puts pods on the node as soon as it takes them: after the node appears, is uncordoned or loses a taint."""
    while True:
        watch = parts.store.watch("nodes/", after=parts.store.revision)
        seen: Any = None
        while await watch.next():
            node = parts.store.get(f"nodes//{parts.node_name}")
            key = _placement(codec.decode(node.value)) if node else None
            if key != seen:
                seen = key
                await _place_all(parts, identity)
        if not getattr(watch, "stalled", False):
            return


def _placement(node: Object) -> Object:
    """What placement depends on."""
    spec = node.get("spec") or {}
    return {"labels": node["metadata"].get("labels"), "taints": spec.get("taints"), "off": spec.get("unschedulable")}


async def _place_all(parts: chains.Chain, identity: exchange.Identity) -> None:
    request = exchange.Request("POST", "/api/v1/pods", identity=identity)
    around = parts.around(requests.read(request, identity))
    for entry in parts.store.page("pods/").entries:
        pod = codec.decode(entry.value)
        if "deletionTimestamp" not in pod["metadata"] and pods.place(pod, around):
            try:
                await parts.store.write(entry.key, write.encoder(pod), expected=entry.revision)
            except (protocol.Conflict, errors.ApiError):
                continue  # it has changed: the next look decides
