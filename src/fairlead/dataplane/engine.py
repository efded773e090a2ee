"""The engine as a plane: keeps one connection to its master and the engine's table equal to the one wanted.

Promises: an endpoint's change leaves in the same turn of the loop; a message is answered by one ack, and whoever waits,
waits on the plane's own sequence, which survives reconnections; after a lost connection (or a new master) only what the
engine lacks is sent, by its hashes; a master that is absent is started, detached; one that runs an older binary
becomes ours without losing a connection. A Listener whose socket cannot be opened and an object that the engine refuses
are Nacks, never exceptions.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.dataplane import doors, engine_view, ledger, link, probing, renewal, sockets, spawn, watchdog, wire
from fairlead.dataplane.plane import Ack, Nack
from fairlead.routing import table

log = logs.get(__name__)
FIRST_BACKOFF_SECONDS = 0.005
MAX_BACKOFF_SECONDS = 1.0
RETRY_SOCKETS_SECONDS = 1.0


@dataclass(slots=True)
class _Drain:
    asked: wire.Drain  # its place in the conversation is put in when it is said
    done: asyncio.Future[int] = field(repr=False)


class EnginePlane:
    """`start` it; then it is a Plane, a Prober, and tells engine events to `on_event`."""

    name = "engine"

    def __init__(
        self,
        socket_path: str,
        *,
        clock: clocks.Clock,
        on_failure: Callable[[str, BaseException], None],
        binary: str = "",
        log_path: str = "",
        opener: doors.Opener = sockets.open_socket,
        on_event: Callable[[wire.Event], None] | None = None,
        on_nacks: Callable[[tuple[Nack, ...]], None] | None = None,
    ) -> None:
        """Without a `binary` no master is started: somebody else does. Raises nothing."""
        self.problem = "not connected yet"
        self.worker_restarts = 0
        self.ejected: dict[tuple[str, str, int], str] = {}
        self._path, self._binary, self._log_path = socket_path, binary, log_path
        self._clock = clock
        self._on_event, self._on_nacks = on_event, on_nacks
        self._nursery = tasks.Nursery("engine plane", on_failure=on_failure)
        self._ledger = ledger.Ledger()
        self._doors = doors.Doors(opener)
        self._probes = probing.Probes(self._ledger)
        self._structure = table.Structure()
        self._has_table = False  # until the first `apply` we do not know what an adopted engine should lose
        self._greeting: link.Link | None = None
        self._link: link.Link | None = None  # only after the welcome: before it we do not know what the engine has
        self._welcome = wire.Welcome()
        self._epoch = self._wire_seq = self._wire_acked = 0
        self._sequence = self._acked = 0
        self._marks: list[tuple[int, int]] = []  # (wire sequence that must be acked, plane sequence)
        self._waiters: dict[asyncio.Future[Ack], int] = {}
        self._nacks: dict[str, Nack] = {}
        self._told: tuple[Nack, ...] = ()
        self._drains: dict[str, _Drain] = {}
        self._ids = itertools.count(1)
        self._lost = asyncio.Event()
        self._watchdog = watchdog.Watchdog(clock)
        self._watch: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._master = 0  # the pid of one that we started

    async def start(self) -> None:
        """Begins to connect (and to start the master). Returns at once."""
        self._nursery.keep(self._run, name="connection", clock=self._clock)

    async def apply(self, structure: table.Structure) -> int:
        kept = {name: one for name, one in structure.listeners.items() if one.protocol != "health"}
        self._has_table = True
        self._structure = structure = msgspec.structs.replace(structure, listeners=kept)
        self._ledger.forget_endpoints(self._ledger.wanted[ledger.ENDPOINTS].keys() - structure.backends.keys())
        return self._advance(everything=True)

    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> int:
        self._ledger.want_endpoints(delta)
        return self._advance(everything=False)

    async def acked(self, sequence: int) -> Ack:
        if sequence <= self._acked:
            return self._ack()
        waiter: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = sequence
        try:
            return await waiter
        finally:
            self._waiters.pop(waiter, None)

    async def drained(self, address: str) -> int:
        return await self._drain(wire.Drain(address=address))

    async def seen_out(self, doors: Sequence[str]) -> int:
        return await self._drain(wire.Drain(listeners=tuple(doors))) if doors else 0

    async def _drain(self, asked: wire.Drain) -> int:
        name = f"drain-{next(self._ids)}"
        drain = self._drains[name] = _Drain(msgspec.structs.replace(asked, id=name), asyncio.Future())
        self._say_drain(drain)
        try:
            return await drain.done
        finally:
            del self._drains[name]
            self._say(lambda seq: wire.Undrain(epoch=self._epoch, seq=seq, id=name))

    def watch(self, spec: probing.Spec, on_result: Callable[[bool, str], None]) -> None:
        """Runs the probe; `on_result(ok, message)` comes with its first result and on transitions."""
        self._probes.watch(spec, on_result)
        self._advance(everything=False)

    def forget(self, probe_id: str) -> None:
        """Stops the probe; unknown ids are ignored."""
        self._probes.forget(probe_id)
        self._advance(everything=False)

    async def connected(self) -> None:
        """Returns when the engine has welcomed us and works by the table."""
        await self.acked(self._advance(everything=False))

    async def shutdown(self, *, grace_seconds: float) -> None:
        """Tells the engine to finish what is in flight and to exit, and waits until it closes the connection."""
        self._binary = ""
        if self._link is None or not self._link.open:
            return
        self._lost.clear()
        if self._watch is not None:
            self._watch.cancel()  # it has no answers for others while it ends
        self._link.send(wire.Shutdown(grace_seconds=grace_seconds))
        await self._lost.wait()
        while self._master and spawn.is_running(self._master):
            await self._clock.sleep(FIRST_BACKOFF_SECONDS)

    async def close(self) -> None:
        """Lets go of the connection; the engine carries on."""
        await self._nursery.close()
        if self._retry is not None:
            self._retry.cancel()
        if self._greeting is not None:
            self._greeting.close()
        for drain in list(self._drains.values()):
            drain.done.cancel()
        for waiter in list(self._waiters):
            waiter.cancel()

    @property
    def nacks(self) -> tuple[Nack, ...]:
        """What of the table is not carried now."""
        return (*self._nacks.values(), *self._doors.nacks(self._structure.listeners))

    @property
    def pids(self) -> tuple[int, int]:
        """(master, worker); 0 while not connected."""
        return (self._welcome.master_pid, self._welcome.worker_pid) if self._link else (0, 0)

    # -- what goes out

    def _advance(self, *, everything: bool) -> int:
        self._sequence += 1
        self._flush(everything=everything)
        self._mark()
        return self._sequence

    def _mark(self) -> None:
        self._marks.append((self._wire_seq if self._link else 1 << 62, self._sequence))
        self._settle()

    def _flush(self, *, everything: bool, anew: bool = False, again: bool = False) -> None:
        """Sends what the engine lacks. Endpoints go first: a Backend that is new has them when a Route finds it."""
        if self._link is None:
            return
        if everything:
            self._hand_over_sockets(again=again)
            listeners = self._doors.usable(self._structure.listeners)
            self._ledger.want_structure(engine_view.view(self._structure, listeners))
        self._send_endpoints()
        if everything:
            self._send_structure()
        self._send_probes(full=anew)

    def _hand_over_sockets(self, *, again: bool) -> None:
        assert self._link is not None
        opened = list(self._doors.open_missing(self._structure.listeners, again=again).items())
        for start in range(0, len(opened), link.MAX_DESCRIPTORS):
            batch = opened[start : start + link.MAX_DESCRIPTORS]
            names = tuple(self._socket_name(name) for name, _ in batch)
            self._link.send(wire.Sockets(sockets=names), [one for _, one in batch])
        if self._doors.refused and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_SOCKETS_SECONDS, self._retry_sockets)

    def _retry_sockets(self) -> None:
        self._retry = None
        if self._link is not None:
            self._flush(everything=True, again=True)
            self._mark()

    @staticmethod
    def _socket_name(name: str) -> wire.SocketName:
        place = sockets.parse(name)
        return wire.SocketName(id=name, family=place.family_name, transport=place.transport)

    def _send_endpoints(self) -> None:
        found = self._ledger.endpoints_difference()
        if found:
            sets = tuple(
                wire.EndpointSet(backend=name, endpoints=msgspec.Raw(one.encoded))
                for name, one in found.changed[ledger.ENDPOINTS].items()
            )
            self._clear_nacks("backend", found.changed[ledger.ENDPOINTS])
            self._say(lambda seq: wire.EndpointsChange(epoch=self._epoch, seq=seq, backends=sets))
            self._ledger.took(found)

    def _send_structure(self) -> None:
        found = self._ledger.structure_difference()
        if not found:
            return
        raws: dict[str, Any] = {
            name: tuple(msgspec.Raw(one.encoded) for one in part.values()) for name, part in found.changed.items()
        }
        removed = {name: list(ids) for name, ids in found.removed.items()}
        for section in {*found.changed, *found.removed}:
            names = (*found.changed.get(section, ()), *found.removed.get(section, ()))
            self._clear_nacks(section.removesuffix("s"), names)
        self._say(lambda seq: wire.StructureChange(epoch=self._epoch, seq=seq, removed=removed, **raws))
        self._ledger.took(found)

    def _send_probes(self, *, full: bool) -> None:
        found = self._ledger.probes_difference()
        if not found and not full:
            return
        changed = tuple(msgspec.Raw(one.encoded) for one in found.changed.get(ledger.PROBES, {}).values())
        removed = tuple(found.removed.get(ledger.PROBES, ()))
        self._say(lambda seq: wire.ProbesChange(epoch=self._epoch, seq=seq, full=full, set=changed, removed=removed))
        self._ledger.took(found)

    def _clear_nacks(self, kind: str, names: Iterable[str]) -> None:
        for name in names:
            self._nacks.pop(f"{kind}/{name}", None)

    def _say_drain(self, drain: _Drain) -> None:
        self._say(lambda seq: msgspec.structs.replace(drain.asked, epoch=self._epoch, seq=seq))

    def _say(self, message: Callable[[int], wire.Request]) -> None:
        if self._link is not None:
            self._wire_seq += 1
            self._link.send(message(self._wire_seq))

    # -- what comes in

    def _take(self, event: wire.Event) -> None:
        match event:
            case wire.Welcome():
                self._watchdog.heard(welcome=True)
                self._begin(event)
            case wire.Pong():
                self._watchdog.heard()
            case wire.Acked():
                self._take_ack(event)
            case wire.Refused():
                log.error("the engine refused a message", problem=event.message, seq=event.seq)
                if event.seq is not None:  # it will never be acked: do not wait for it for ever
                    self._take_ack(wire.Acked(epoch=event.epoch or 0, seq=event.seq))
            case wire.Drained():
                drain = self._drains.get(event.id)
                if drain is not None and not drain.done.done():
                    drain.done.set_result(event.in_flight)
            case wire.ProbeResult():
                self._probes.take(event)
            case wire.EndpointState():
                self._take_endpoint(event)
            case wire.Worker():
                self._watchdog.heard()
                self.worker_restarts = event.restarts
                self._welcome = msgspec.structs.replace(self._welcome, worker_pid=event.pid)
        if self._on_event is not None:
            self._on_event(event)

    def _begin(self, welcome: wire.Welcome) -> None:
        """A new conversation: a new epoch, and everything that the engine lacks."""
        self._link, self._welcome, self.problem = self._greeting, welcome, ""
        self._epoch = max(welcome.epoch + 1, int(self._clock.now() * 1000))
        self._wire_seq = self._wire_acked = 0
        self._nacks.clear()
        self._ledger.learn({name: known for name, known in welcome.hashes.items() if name != ledger.PROBES})
        self._doors.learn(welcome.sockets)
        self._flush(everything=self._has_table, anew=True)
        for drain in self._drains.values():
            self._say_drain(drain)
        self._marks = [(self._wire_seq, self._sequence)]
        self._settle()
        if self._binary and welcome.master_pid != self._master:
            self._nursery.start(self._renew(self._link, welcome.master_pid), name="renewal")

    async def _renew(self, adopted: link.Link | None, master: int) -> None:
        """A master that somebody else started may run the binary of before an upgrade."""
        if adopted is None or not await asyncio.to_thread(renewal.is_outdated, master, self._binary):
            return
        log.info("the engine becomes this version's", binary=self._binary, master=master)
        adopted.send(wire.Upgrade(path=self._binary))

    def _take_ack(self, ack: wire.Acked) -> None:
        if ack.epoch != self._epoch:
            return
        self._wire_acked = max(self._wire_acked, ack.seq)
        for one in ack.nacks:
            self._nacks[one.object] = Nack(one.object, one.path, one.message)
        self._settle()

    def _take_endpoint(self, event: wire.EndpointState) -> None:
        place = (event.backend, event.address, event.port)
        if event.state == "ejected":
            self.ejected[place] = event.reason
        else:
            self.ejected.pop(place, None)

    def _settle(self) -> None:
        while self._marks and self._marks[0][0] <= self._wire_acked and self._link is not None:
            self._acked = max(self._acked, self._marks.pop(0)[1])
        for waiter, sequence in list(self._waiters.items()):
            if sequence <= self._acked and not waiter.done():
                waiter.set_result(self._ack())
        if self._on_nacks is not None and self._told != self.nacks:
            self._told = self.nacks
            self._on_nacks(self._told)

    def _ack(self) -> Ack:
        return Ack(self._acked, self.nacks)

    # -- the connection

    async def _run(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                connected = await link.connect(self._path)
            except OSError as error:
                self.problem = f"no engine at {self._path}: {error.strerror or error}"
                self._start_master()
                await self._clock.sleep(backoff)
                backoff = min(backoff * 1.5, MAX_BACKOFF_SECONDS)
                continue
            backoff = FIRST_BACKOFF_SECONDS
            await self._converse(connected)

    async def _converse(self, connected: socket.socket) -> None:
        self._lost.clear()
        self._watchdog.begin()
        self._greeting = greeting = link.Link(connected, on_event=self._take, on_lost=self._lose)
        greeting.send(wire.Hello(version=wire.VERSION))
        master = link.peer_pid(connected)
        watching = self._watchdog.watch(greeting, lambda: (master, self._welcome.worker_pid))
        self._watch = watch = self._nursery.start(watching, name="watchdog")
        try:
            await self._lost.wait()
        finally:
            watch.cancel()

    def _lose(self, why: str) -> None:
        log.warning("the engine's connection is lost", problem=why)
        self.problem = why
        self._link = self._greeting = None
        self._marks = [(1 << 62, sequence) for _, sequence in self._marks]
        self._lost.set()

    def _start_master(self) -> None:
        if not self._binary or (self._master and spawn.is_running(self._master)):
            return
        log.info("starting the engine", binary=self._binary)
        try:
            self._master = spawn.start_master(self._binary, socket_path=self._path, log_path=self._log_path)
        except OSError as error:  # no processes, descriptors or memory left, or the binary is being replaced
            self.problem = f"the engine cannot be started: {error.strerror or error}"
            log.error("the engine cannot be started", problem=error.strerror or str(error))

    def __repr__(self) -> str:
        master, worker = self.pids
        state = f"master {master}, worker {worker}" if self._link else f"not connected: {self.problem}"
        waiting = f", waiting for {self._sequence - self._acked} acks" if self._sequence > self._acked else ""
        return f"<EnginePlane {state}, at {self._acked}{waiting}, {len(self._drains)} drains, {len(self.nacks)} nacks>"
