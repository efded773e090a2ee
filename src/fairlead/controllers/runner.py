"""The thin part that every controller shares: a key comes, a pure function decides, the writes are sent.

A controller never decides on a view older than its own last write of that key: the runner remembers the versions that
its writes were given and the objects it has asked to delete, and waits (for the watch's next event, not by polling)
until the informers have seen them. That is Kubernetes' "expectations", exact instead of counted (KEP-5504, KEP-5647).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.base import clock as clocks
from fairlead.base import leisure as leisures
from fairlead.client import errors, events, informer, protocol
from fairlead.controllers import queueing, writes
from fairlead.controllers.writes import Object

Decide = Callable[[str], writes.Decision | Awaitable[writes.Decision]]
IN_A_RUSH, RUSH_SECONDS = 8, 0.1  # new pods at once, and how long they wait, while more wait to start than can
MOST_AT_ONCE = 32  # writes of one decision in flight: more would hold the loop for longer than 20 ms
STALE_SECONDS = 30.0  # a watch that has told nothing so long is looked at again


@dataclass(slots=True)
class _Unseen:
    """What a key's writes will make visible."""

    versions: dict[Kind, str] = field(default_factory=dict)
    deleted: dict[tuple[Kind, str], str] = field(default_factory=dict)  # key -> uid


class Runner:
    """Runs one controller: `add` keys, `decide` turns a key into a Decision from the informers' caches.

    A `decide` that must ask the server first may be a coroutine function.
    """

    def __init__(
        self,
        name: str,
        decide: Decide,
        *,
        client: protocol.Client,
        informers: Mapping[Kind, informer.Informer],
        recorder: events.Recorder,
        clock: clocks.Clock,
        rng: random.Random,
        on_failure: informer.Failure,
        leisure: leisures.Leisure | None = None,
    ) -> None:
        self.name = name
        self.refused: dict[str, str] = {}  # key -> why its last Create or Delete was refused
        self._decide = decide
        self._client = client
        self._informers = dict(informers)
        self._recorder = recorder
        self._leisure = leisure
        self._left: set[str] = set()  # keys whose decision was not carried out to its end
        self._unseen: dict[str, _Unseen] = {}
        self._waiting: set[str] = set()  # keys whose writes must be seen before the next decision
        self.queue = queueing.Queue(name, self._work, clock=clock, rng=rng, on_failure=on_failure)

    def add(self, key: str) -> None:
        self.queue.add(key)

    def wrote(self, key: str, kind: Kind, obj: Object) -> bool:
        """Whether the object is as that key's last decision left it and nothing waits to see it: for a controller
        that decides all of it at once, there is nothing to decide again."""
        unseen = self._unseen.get(key)
        version = obj["metadata"].get("resourceVersion")
        return unseen is not None and key not in self._waiting and unseen.versions.get(kind) == version

    def follow(self, one: informer.Informer) -> None:
        """Decides on that informer's view, too."""
        self._informers[one.kind] = one

    def leave(self, kind: Kind) -> None:
        """That kind is no more."""
        self._informers.pop(kind, None)

    def add_all(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.queue.add(key)

    async def close(self) -> None:
        await self.queue.close()

    async def _work(self, key: str) -> float | None:
        for needed in list(self._informers.values()):
            if not needed.synced:
                await needed.wait_synced()
        if not self._fresh(key):
            self._waiting.add(key)
            return STALE_SECONDS
        self._waiting.discard(key)
        decision = self._decide(key)
        if not isinstance(decision, writes.Decision):
            decision = await decision
        for write in decision.writes:
            await self._apply(key, write)
        if key in self._left:
            self._left.discard(key)
            return 0.0
        return decision.again_seconds

    def _fresh(self, key: str) -> bool:
        unseen = self._unseen.get(key)
        if unseen is None:
            return True
        known = self._informers
        if not all(known[kind].seen(version) for kind, version in unseen.versions.items() if kind in known):
            return False
        if any(self._still_there(kind, of, uid) for (kind, of), uid in unseen.deleted.items()):
            return False
        del self._unseen[key]
        return True

    def _still_there(self, kind: Kind, key: str, uid: str) -> bool:
        obj = self._informers[kind].cache.get(key) if kind in self._informers else None
        return obj is not None and obj["metadata"]["uid"] == uid and "deletionTimestamp" not in obj["metadata"]

    async def _apply(self, key: str, write: writes.Write) -> None:
        if isinstance(write, writes.Note):
            self._recorder.event(write.about, write.type, write.reason, write.message)
        elif isinstance(write, writes.Together):
            await self._slow_start(key, write.writes)
        else:
            await self._tell(key, write)

    async def _slow_start(self, key: str, all_writes: tuple[writes.Create | writes.Delete, ...]) -> None:
        done, size = 0, 1
        while done < len(all_writes):
            if self._is_rush and all_writes[done].kind is kinds.POD and isinstance(all_writes[done], writes.Create):
                if done >= IN_A_RUSH:
                    self._left.add(key)  # for another look: they may not be wanted any more
                    return
                size = await self._paced(size)
            batch = all_writes[done : done + size]
            results = await asyncio.gather(*(self._tell(key, write) for write in batch), return_exceptions=True)
            failed = [result for result in results if isinstance(result, BaseException)]
            if failed:
                raise failed[0]
            done, size = done + len(batch), min(size * 2, MOST_AT_ONCE)

    @property
    def _is_rush(self) -> bool:
        return self._leisure is not None and self._leisure.crowded

    async def _paced(self, size: int) -> int:
        """How many pods to make now: while many wait to start, so few and so late that the first are served first."""
        assert self._leisure is not None
        await self._leisure.room_for_more(at_most_seconds=RUSH_SECONDS)
        return min(size, IN_A_RUSH)

    async def _tell(self, key: str, write: writes.Create | writes.Update | writes.Patch | writes.Delete) -> None:
        told = write.told
        try:
            result = await self._send(key, write)
        except errors.ApiError as error:
            if _namespace_ends(error):
                return
            if told is not None and told.failure is not None and not error.conflict:
                self.refused[key] = str(error)
                reason, message = told.failure
                self._recorder.event(told.about, "Warning", reason, message.format(name=_name(write), error=error))
            raise
        if isinstance(write, writes.Create | writes.Delete):
            self.refused.pop(key, None)
        if told is not None and told.success is not None:
            reason, message = told.success
            name = result["metadata"]["name"] if result else _name(write)
            self._recorder.event(told.about, "Normal", reason, message.format(name=name))

    async def _send(
        self, key: str, write: writes.Create | writes.Update | writes.Patch | writes.Delete
    ) -> Object | None:
        if isinstance(write, writes.Delete):
            await self._delete(key, write)
            return None
        if isinstance(write, writes.Create):
            namespace = write.body["metadata"].get("namespace", "")
            result = await self._client.create(write.kind, write.body, namespace=namespace)
        elif isinstance(write, writes.Update):
            result = await self._client.update(write.kind, write.body, subresource=write.subresource)
        else:
            result = await self._client.patch(
                write.kind, write.name, write.patch, namespace=write.namespace, subresource=write.subresource
            )
        if write.kind in self._informers:
            unseen = self._unseen.setdefault(key, _Unseen())
            unseen.versions[write.kind] = _later(unseen.versions.get(write.kind), result)
        return result

    async def _delete(self, key: str, write: writes.Delete) -> None:
        try:
            await self._client.delete(
                write.kind,
                write.name,
                namespace=write.namespace,
                propagation=write.propagation,
                uid=write.uid,
                resource_version=write.resource_version,
            )
        except errors.ApiError as error:
            if not error.not_found:
                raise
        if write.kind in self._informers and write.uid:
            of = f"{write.namespace}/{write.name}" if write.namespace else write.name
            self._unseen.setdefault(key, _Unseen()).deleted[(write.kind, of)] = write.uid


def _later(known: str | None, result: Object) -> str:
    version = str(result.get("metadata", {}).get("resourceVersion", ""))
    if known is None or not (known.isdigit() and version.isdigit()):
        return version
    return version if int(version) > int(known) else known


def _namespace_ends(error: errors.ApiError) -> bool:
    causes = (error.status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def _name(write: writes.Create | writes.Update | writes.Patch | writes.Delete) -> str:
    if isinstance(write, writes.Patch | writes.Delete):
        return write.name
    metadata = write.body["metadata"]
    return str(metadata.get("name") or metadata.get("generateName", ""))


def key_of_owner(obj: Object, kind: str) -> str | None:
    """The key of the object of that kind that controls `obj`."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference["kind"] == kind:
            return f"{obj['metadata'].get('namespace', '')}/{reference['name']}"
    return None


def owners(change: informer.Change, kind: str) -> set[str]:
    """The keys of the owners of that kind, before and after the change."""
    states = [state for state in (change.old, change.new) if state is not None]
    return {key for state in states if (key := key_of_owner(state, kind)) is not None}


def orphan(change: informer.Change) -> bool:
    """Nobody controls the object that is there now."""
    if change.new is None:
        return False
    return not any(reference.get("controller") for reference in change.new["metadata"].get("ownerReferences") or ())
