"""The traffic loop: informers -> translation -> planes -> acks -> statuses and Events.

Promises: nothing is sent before every informer has its first list, so that an adopted engine never loses what it
carries to a half-known cluster; a change of an EndpointSlice goes to the planes in the same turn or the next of the
loop, without a translation; bursts of other changes become one translation, which is made in the loop only while it
concerns little; statuses are written when the planes work by the table, and after what has changed meanwhile; each
Problem (and each object that a plane did not take) is one Event, told again only after it had gone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.api.problem import Problem
from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.client import events, informer, informers, protocol
from fairlead.controllers import serving_gate, traffic_reports, traffic_statuses
from fairlead.routing import settings, table, translate

log = logs.get(__name__)
WATCHED = (
    kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.INGRESS, kinds.INGRESS_CLASS, kinds.SECRET, kinds.BACKEND_POLICY,
)  # fmt: skip
# A step of the loop stays under 20 ms: what concerns more parts of the table, or is one of more objects, is translated
# in a thread, which shares Python's lock with the loop and is the slower way for the little that most changes are.
IN_THE_LOOP = 50
MANY = 20_000
PAUSE_SECONDS = 0.025
AT_ONCE = 100  # Services whose endpoints are sent in one step
BY_SERVICE = "traffic/service"


class Sink(Protocol):
    """What carries the table; the token of a sending is awaited with `acked`."""

    async def apply(self, structure: table.Structure) -> Any: ...
    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> Any: ...
    async def acked(self, sent: Any) -> Sequence[traffic_reports.Nack]: ...


class Traffic:
    """The controller. `start` begins; `translation`, `slices` and `problems` are for `explain` and `status`."""

    def __init__(
        self,
        client: protocol.Client,
        shared: informers.Informers,
        *,
        where: settings.Settings,
        sink: Sink,
        recorder: events.Recorder,
        clock: clocks.Clock,
        on_failure: Callable[[str, BaseException], None],
        gate: serving_gate.Gate | None = None,
    ) -> None:
        self._gate = gate
        self._translator = translate.Translator(where)
        self.translation = self._translator.translate(translate.Snapshot())
        self._client, self._sink, self._recorder, self._clock = client, sink, recorder, clock
        self._where = where
        settings_too = (kinds.CONFIG_MAP,) if where.ingress_nginx else ()  # it has its settings in one
        watched = (*WATCHED, kinds.NODE, *settings_too)
        self._informers = {kind: shared.of(kind) for kind in watched}
        self._nursery = tasks.Nursery("traffic", on_failure=on_failure)
        self._structure_changed = asyncio.Event()
        self._slices_changed = asyncio.Event()
        self._services: set[str] = set()  # whose slices changed
        self._sent: Any = None
        self._following = False
        self._refused: tuple[str, ...] = ()
        self._reports = traffic_reports.Reports()
        self._changed: set[tuple[str, str]] = set()  # kind and key, since the last translation
        self._calm = asyncio.Event()  # nothing is being translated or sent
        self._calm.set()
        self._statuses = traffic_statuses.Statuses(client, self._informers, clock=clock, calm=self._calm)
        self._idle = asyncio.Event()

    async def start(self) -> None:
        """Begins to follow the cluster. Returns at once; `ready` says when the planes have the first table."""
        slices = self._informers[kinds.ENDPOINT_SLICE]
        slices.cache.add_index(BY_SERVICE, _by_service)
        slices.add_handler(self._slice_changed)
        for kind, one in self._informers.items():
            if kind is not kinds.ENDPOINT_SLICE:
                changed = functools.partial(self._object_changed, kind)
                one.add_handler(self._node_changed if kind is kinds.NODE else changed)
        self._idle.clear()
        self._structure_changed.set()
        self._keep(self._follow_structure, name="structure")

    def _keep(self, work: tasks.Work, *, name: str) -> None:
        self._nursery.keep(work, name=name, clock=self._clock)

    async def close(self) -> None:
        """Ends following; the planes keep what they have."""
        await self._nursery.close()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the objects, and what no plane carries, as of the last report."""
        return self._reports.problems

    def slices(self) -> list[dict[str, Any]]:
        """All EndpointSlices that are known."""
        return self._informers[kinds.ENDPOINT_SLICE].cache.list()

    def retranslate(self) -> None:
        """Something outside of the objects that are translated changed (a nack came or went)."""
        self._idle.clear()
        self._structure_changed.set()

    async def settled(self) -> None:
        """Returns when the planes work by, and statuses tell, everything seen so far."""
        while self._structure_changed.is_set() or not self._idle.is_set() or not self._statuses.idle.is_set():
            await self._idle.wait()
            await self._statuses.idle.wait()
            await asyncio.sleep(0)

    # -- endpoints: the fast path

    def _slice_changed(self, change: informer.Change) -> None:
        for obj in (change.old, change.new):
            if obj is not None and (service := translate.service_of(obj)):
                self._services.add(service)
        self._slices_changed.set()

    async def _follow_slices(self) -> None:
        while True:
            await self._slices_changed.wait()
            self._slices_changed.clear()
            try:
                await self._send_endpoints()
            except BaseException:
                self._slices_changed.set()  # for the next attempt
                raise

    async def _send_endpoints(self) -> None:
        while self._services:
            await self._send_some()

    async def _send_some(self) -> None:
        services = {self._services.pop() for _ in range(min(AT_ONCE, len(self._services)))}
        try:
            delta = [one for service in services for one in self._endpoints_of(service)]
            sent = await self._sink.apply_endpoints(delta) if delta else None
        except BaseException:
            self._services |= services
            raise
        if delta and self._gate is not None:
            self._nursery.start(self._tell_served(sent, delta, self._gate), name="served")

    async def _tell_served(self, sent: Any, delta: Sequence[table.BackendEndpoints], gate: serving_gate.Gate) -> None:
        await self._sink.acked(sent)
        gate.acked(delta)

    def _endpoints_of(self, service: str) -> list[table.BackendEndpoints]:
        cache = self._informers[kinds.ENDPOINT_SLICE].cache
        return self.translation.endpoints_of(service, cache.indexed(BY_SERVICE, service))

    # -- structure: the slow path

    def _object_changed(self, kind: Kind, change: informer.Change) -> None:
        self._statuses.touched(kind, change.key)
        if change.old is None or change.new is None or _matters(change.old, change.new):
            self._changed.add((kind.kind, change.key))
            self._idle.clear()
            self._structure_changed.set()

    def _node_changed(self, change: informer.Change) -> None:
        """The node's zone is where traffic begins: what is near is another now."""
        node = change.new
        if node is None or node["metadata"]["name"] != self._where.node:
            return
        zone = (node["metadata"].get("labels") or {}).get(settings.ZONE, "")
        if zone != self._where.zone:
            self._where = dataclasses.replace(self._where, zone=zone)
            self._translator = translate.Translator(self._where)
            self.retranslate()

    async def _follow_structure(self) -> None:
        await asyncio.gather(*(one.wait_synced() for one in self._informers.values()))
        while True:
            await self._structure_changed.wait()
            self._structure_changed.clear()
            self._idle.clear()
            try:
                took = await self._translate_and_send()
            except BaseException:
                self._translator = translate.Translator(self._where)  # it may have been left halfway
                self._structure_changed.set()  # for the next attempt
                raise
            if not self._following:
                self._following = True
                self._keep(self._follow_slices, name="endpoints")
                self._keep(self._follow_acks, name="acks")
                self._keep(self._statuses.run, name="statuses")
            self._acks_wanted.set()
            if took > 0.005 and self._structure_changed.is_set():
                # A storm of changes takes half of a core; what comes at its end does not wait for the whole pause.
                await self._clock.sleep(min(took, PAUSE_SECONDS))

    async def _translate_and_send(self) -> float:
        started = self._clock.monotonic()
        self._calm.clear()
        try:
            await self._send(await self._translated())
        finally:
            self._calm.set()
        return self._clock.monotonic() - started

    async def _translated(self) -> translate.Translation:
        changed, self._changed = self._changed, set()
        snapshot = translate.Snapshot(
            services=self._informers[kinds.SERVICE].cache.list(),
            ingresses=self._informers[kinds.INGRESS].cache.list(),
            ingress_classes=self._informers[kinds.INGRESS_CLASS].cache.list(),
            secrets=self._informers[kinds.SECRET].cache.list(),
            config_maps=self._informers[kinds.CONFIG_MAP].cache.list() if self._where.ingress_nginx else (),
            backend_policies=self._informers[kinds.BACKEND_POLICY].cache.list(),
            refused=self._refused,
        )
        objects = len(snapshot.services) + len(snapshot.ingresses)
        if objects <= IN_THE_LOOP or (objects <= MANY and self._translator.extent(changed) <= IN_THE_LOOP):
            return self._translator.translate(snapshot)
        return await asyncio.to_thread(self._translator.translate, snapshot)

    async def _send(self, fresh: translate.Translation) -> None:
        known, self.translation = self.translation, fresh
        moved = known.settings != fresh.settings
        for service, sources in fresh.sources.items():
            if moved or known.sources.get(service) != sources:
                self._services.add(service)
        await self._send_endpoints()  # first: a Backend that is new has its endpoints when a Route finds it
        self._sent = await self._sink.apply(fresh.structure)

    # -- what comes back

    @property
    def _acks_wanted(self) -> asyncio.Event:
        return self._reports.wanted

    async def _follow_acks(self) -> None:
        while True:
            await self._acks_wanted.wait()
            self._acks_wanted.clear()
            try:
                await self._report(self.translation)
            except BaseException:
                self._acks_wanted.set()  # for the next attempt
                raise
            if not self._structure_changed.is_set() and not self._acks_wanted.is_set():
                self._idle.set()

    async def _report(self, translation: translate.Translation) -> None:
        nacks = await self._sink.acked(self._sent)
        self._note_refused(nacks)
        for problem in self._reports.take(translation, nacks):
            self._tell(problem)
        self._statuses.want(translation.statuses)

    def _note_refused(self, nacks: Sequence[traffic_reports.Nack]) -> None:
        """A load balancer whose port another program holds gets another address."""
        refused = tuple(
            sorted({nack.object.removeprefix("listener/") for nack in nacks if nack.object.endswith("/load-balancer")})
        )
        if refused != self._refused:
            self._refused = refused
            self._structure_changed.set()

    def _tell(self, problem: Problem) -> None:
        found = self._find(problem.object)
        if found is None:
            log.warning("not carried", problem=str(problem))
            return
        where = f"{problem.path}: " if problem.path else ""
        self._recorder.event(found, "Warning", problem.reason, where + problem.message)

    def _find(self, name: str) -> dict[str, Any] | None:
        kind_name, _, key = name.partition("/")
        for kind, one in self._informers.items():
            if kind.kind == kind_name and (obj := one.cache.get(key)) is not None:
                return {**obj, "apiVersion": kind.api_version, "kind": kind.kind}
        return None

    def __repr__(self) -> str:
        made = self.translation.structure
        return f"<Traffic {len(made.routes)} routes, {len(made.backends)} backends, {len(self.problems)} problems>"


def _by_service(obj: dict[str, Any]) -> tuple[str, ...]:
    service = translate.service_of(obj)
    return (service,) if service else ()


def _matters(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether anything but versions, managed fields or a status that we write ourselves changed."""
    ours = {"rules", "targetRefs"} & set(new.get("spec") or {})
    ignored = ("metadata", "status") if ours else ("metadata",)
    if any(old.get(name) != new.get(name) for name in {*old, *new} if name not in ignored):
        return True
    read = ("annotations", "creationTimestamp", "uid")
    return any(old["metadata"].get(name) != new["metadata"].get(name) for name in read)
