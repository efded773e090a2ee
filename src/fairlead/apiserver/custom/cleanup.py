"""Deletes the objects of a definition that is being deleted, then lets the definition go."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fairlead.api import kinds
from fairlead.apiserver import codec
from fairlead.apiserver.custom import definitions
from fairlead.base import tasks
from fairlead.client import errors, exchange, rest
from fairlead.store import protocol

Object = dict[str, Any]
_KIND = kinds.CUSTOM_RESOURCE_DEFINITION


async def run(
    store: protocol.Store, send: exchange.Exchange, identity: exchange.Identity, nursery: tasks.Nursery
) -> None:
    """Works until the store is closed: whatever is there, then every change; each definition in a task of its own."""
    client = rest.RestClient(send, identity=identity)
    busy: set[str] = set()

    def consider(obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        if uid not in busy and _dying(obj):
            busy.add(uid)
            nursery.start(_clean(obj, store, client), name=f"delete {obj['metadata']['name']}")

    while True:
        watch = store.watch(f"{definitions.BUCKET}/", after=store.revision)
        for entry in store.page(f"{definitions.BUCKET}/").entries:
            consider(codec.decode(entry.value))
        while events := await watch.next():
            for event in events:
                if not event.deleted:
                    consider(codec.decode(event.entry.value))
        if not getattr(watch, "stalled", False):
            return


def _dying(obj: Object) -> bool:
    metadata = obj["metadata"]
    return "deletionTimestamp" in metadata and definitions.FINALIZER in metadata.get("finalizers", ())


async def _clean(obj: Object, store: protocol.Store, client: rest.RestClient) -> None:
    metadata = obj["metadata"]
    kind = next(iter(definitions.kinds_of(obj["spec"]).values()))
    prefix = f"{kind}/"
    watch = store.watch(prefix, after=store.revision)
    for entry in store.page(prefix).entries:
        namespace, name = entry.key.split("/", 2)[1:]
        with contextlib.suppress(errors.ApiError):
            await client.delete(kind, name, namespace=namespace)
    while store.count(prefix):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                await watch.next()
    watch.close()
    finalizers = [text for text in metadata["finalizers"] if text != definitions.FINALIZER]
    with contextlib.suppress(errors.ApiError):
        await client.patch(_KIND, metadata["name"], {"metadata": {"finalizers": finalizers or None}})
