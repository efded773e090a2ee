"""Several planes as one: the table goes to each, acks come from all, and an address leaves all before its pod may stop.

Promises: a drain takes the address out by an override of its own, at once and whatever the slices say; a plane that has
not acked within 2 s (dead, or stuck) no longer blocks and is named; the rest of the deadline is for what is in flight.
After `release` the address stays out until no Backend names that pod there, so that a late slice cannot bring it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.dataplane.plane import Ack, Counting, Nack, Plane, Receiving
from fairlead.routing import carrier, table

log = logs.get(__name__)
ACK_LIMIT_SECONDS = 2.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: a sequence per plane."""

    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DrainOutcome:
    """How a drain ended. `left`: at least so many connections were open at the end; `silent`: planes without an ack."""

    left: int = 0
    silent: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(slots=True)
class _Out:
    """An address that is held out. `names` are the pods it belonged to."""

    names: set[str] = field(default_factory=set)
    released: bool = False


class Coordinator:
    """The sink of translations and the gate of drains."""

    def __init__(
        self,
        planes: Sequence[Plane],
        *,
        clock: clocks.Clock,
        on_failure: Callable[[str, BaseException], None],
        on_silent: Callable[[str, str], None] | None = None,
    ) -> None:
        """`on_silent(plane, address)` is called for a plane that no longer blocks a drain."""
        self.planes = tuple(planes)
        self.structure = table.Structure()
        self._clock = clock
        self._on_silent = on_silent
        self._nursery = tasks.Nursery("coordinator", on_failure=on_failure)
        self._wanted: dict[str, table.BackendEndpoints] = {}
        self._at: dict[str, set[str]] = {}  # address -> Backends that name it
        self._out: dict[str, _Out] = {}
        self._shut: Literal["", "outside", "all"] = ""

    async def apply(self, structure: table.Structure) -> Sent:
        """Sends the whole desired structure to every plane, which sends on what changed."""
        for backend in self._wanted.keys() - structure.backends.keys() & self.structure.backends.keys():
            self._file(table.BackendEndpoints(backend=backend))
            del self._wanted[backend]
        self.structure = structure
        carried = self._carried()
        return Sent(tuple([await plane.apply(carried) for plane in self.planes]))

    async def see_out(self, *, deadline_seconds: float) -> None:
        """Closes the doors to the outside and returns when everybody who came in by them has gone, or at the deadline.
        Inside, everything goes on: what they ask for may need other Services."""
        deadline = self._clock.monotonic() + deadline_seconds
        doors = [name for name, one in self.structure.listeners.items() if not carrier.is_inner(one)]
        self._shut = "outside"
        sent = await self.apply(self.structure)
        await asyncio.gather(
            *(
                self._see_out_plane(plane, sequence, doors, deadline)
                for plane, sequence in zip(self.planes, sent.sequences, strict=True)
            )
        )

    async def _see_out_plane(self, plane: Plane, sequence: int, doors: Sequence[str], deadline: float) -> None:
        try:
            ack = await self._within(plane.acked(sequence), ACK_LIMIT_SECONDS)
            if ack is None or not isinstance(plane, Receiving):
                return
            left = await self._within(plane.seen_out(doors), max(0.0, deadline - self._clock.monotonic()))
        except OSError as error:
            log.warning("a plane cannot tell whom it serves", plane=plane.name, problem=str(error))
            return
        if left is None:
            log.warning("clients from outside are served still at the end of their time", plane=plane.name)

    async def shut(self) -> Sent:
        """Closes every door: who comes anew is refused, who is served already goes on being served."""
        self._shut = "all"
        return await self.apply(self.structure)

    def _carried(self) -> table.Structure:
        """The structure, without the doors that are closed."""
        if not self._shut:
            return self.structure
        every = self.structure.listeners if self._shut == "outside" else {}
        kept = {name: one for name, one in every.items() if carrier.is_inner(one)}
        return msgspec.structs.replace(self.structure, listeners=kept, shut=self._shut)

    async def apply_endpoints(self, delta: Iterable[table.BackendEndpoints]) -> Sent:
        """Sends the endpoints of the Backends named, without those that are held out."""
        changed = list(delta)
        for one in changed:
            self._file(one)
        self._forget_released()
        return await self._send(one.backend for one in changed)

    async def acked(self, sent: Sent) -> tuple[Nack, ...]:
        """Returns when every plane works by it, with what they did not take."""
        acks = [await plane.acked(one) for plane, one in zip(self.planes, sent.sequences, strict=True)]
        return tuple(dict.fromkeys(nack for ack in acks for nack in ack.nacks))

    async def drain(self, address: str, *, deadline_seconds: float) -> DrainOutcome:
        """Takes the address out of every plane and waits until nothing is in flight to it, or for the deadline."""
        started = self._clock.monotonic()
        held = self._out.setdefault(address, _Out())
        held.released = False
        held.names |= self._names_at(address)
        sent = await self._send(self._at.get(address, ()))
        results = await asyncio.gather(
            *(
                self._drain_plane(plane, sequence, address, started + deadline_seconds)
                for plane, sequence in zip(self.planes, sent.sequences, strict=True)
            )
        )
        silent = tuple(plane.name for plane, left in zip(self.planes, results, strict=True) if left is None)
        return DrainOutcome(sum(left or 0 for left in results), silent, self._clock.monotonic() - started)

    def release(self, address: str) -> None:
        """The pod is gone: its endpoints are taken out entirely, and the address may be given to another pod."""
        held = self._out.get(address)
        if held is None:
            return
        held.names |= self._names_at(address)
        held.released = True
        self._nursery.start(self._send(list(self._at.get(address, ()))), name=f"release {address}")
        self._forget_released()

    def held_out(self) -> dict[str, str]:
        """Addresses that get nothing now, and why; for `explain`."""
        return {address: "its pod is gone" if held.released else "draining" for address, held in self._out.items()}

    async def close(self) -> None:
        """Lets go of every plane."""
        await self._nursery.close()
        for plane in self.planes:
            await plane.close()

    async def _send(self, backends: Iterable[str]) -> Sent:
        delta = [self._effective(self._wanted[name]) for name in backends if name in self._wanted]
        return Sent(tuple([await plane.apply_endpoints(delta) for plane in self.planes]))

    async def _drain_plane(self, plane: Plane, sequence: int, address: str, deadline: float) -> int | None:
        """What was left; None for a plane that did not ack, or could not."""
        try:
            return await self._drain_acking(plane, sequence, address, deadline)
        except OSError as error:  # what a plane cannot find out must not keep its pod for ever
            log.warning("a plane cannot drain", plane=plane.name, address=address, problem=str(error))
            return None

    async def _drain_acking(self, plane: Plane, sequence: int, address: str, deadline: float) -> int | None:
        limit = min(ACK_LIMIT_SECONDS, max(0.0, deadline - self._clock.monotonic()))
        ack: Ack | None = await self._within(plane.acked(sequence), limit)
        if ack is None:
            log.warning("a plane has not acked a drain and no longer blocks it", plane=plane.name, address=address)
            if self._on_silent is not None:
                self._on_silent(plane.name, address)
            return None
        left = await self._within(plane.drained(address), max(0.0, deadline - self._clock.monotonic()))
        if left is None:
            left = await plane.in_flight(address) if isinstance(plane, Counting) else 1
        return left

    async def _within(self, work: Awaitable[_Result], seconds: float) -> _Result | None:
        task = asyncio.ensure_future(work)
        limit = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({task, limit}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for one in (task, limit):
                one.cancel()
            await asyncio.gather(task, limit, return_exceptions=True)

    def _effective(self, wanted: table.BackendEndpoints) -> table.BackendEndpoints:
        if not self._out:
            return wanted
        kept = tuple(found for one in wanted.endpoints if (found := self._overridden(one)) is not None)
        return table.BackendEndpoints(backend=wanted.backend, endpoints=kept)

    def _overridden(self, endpoint: table.Endpoint) -> table.Endpoint | None:
        held = self._out.get(endpoint.address)
        if held is None or endpoint.name not in held.names:
            return endpoint
        return None if held.released else msgspec.structs.replace(endpoint, state="draining")

    def _file(self, one: table.BackendEndpoints) -> None:
        old = self._wanted.get(one.backend)
        for endpoint in old.endpoints if old else ():
            backends = self._at.get(endpoint.address)
            if backends is not None:
                backends.discard(one.backend)
                if not backends:
                    del self._at[endpoint.address]
        for endpoint in one.endpoints:
            self._at.setdefault(endpoint.address, set()).add(one.backend)
            held = self._out.get(endpoint.address)
            if held is not None and not held.released:
                held.names.add(endpoint.name)
        self._wanted[one.backend] = one

    def _names_at(self, address: str) -> set[str]:
        return {
            endpoint.name
            for backend in self._at.get(address, ())
            for endpoint in self._wanted[backend].endpoints
            if endpoint.address == address
        }

    def _forget_released(self) -> None:
        for address, held in list(self._out.items()):
            if held.released and not held.names & self._names_at(address):
                del self._out[address]

    def __repr__(self) -> str:
        out = ", ".join(sorted(self._out)) or "none"
        return f"<Coordinator {len(self._wanted)} backends over {[p.name for p in self.planes]}, held out: {out}>"
