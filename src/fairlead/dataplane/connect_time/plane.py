"""Balancing at connect time as a plane: it stands beside the nftables plane and takes what it can from it.

Promises: what it does not carry, and everything while it is not attached, nftables carries. An ack comes when no
program can choose what was taken away any more. Maps and programs are this process's own: if it ends, however it ends,
the kernel detaches them, so that nobody is led to a pod that has gone. A map that cannot be written is let go of in the
same way. Needs root and Linux 5.14.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fairlead.base import log as logs
from fairlead.base import netns, tasks
from fairlead.dataplane.connect_time import books, kernel, tables
from fairlead.dataplane.plane import Ack, Plane
from fairlead.routing import table

log = logs.get(__name__)
STEP_BACKENDS = 50  # in one turn of the loop, which is to take less than 20 ms


class ConnectPlane:
    """A Plane from the start; it carries something from `attach` on."""

    name = "connect time"

    def __init__(
        self,
        beside: Plane,
        *,
        on_failure: Callable[[str, BaseException], None],
        on_lost: Callable[[str], None] = lambda why: None,
    ) -> None:
        """`beside` is the plane that counts connections to an endpoint, whoever led them there. `on_lost(why)` is
        called when the programs are let go of."""
        self._on_lost, self._on_failure = on_lost, on_failure
        self._beside = beside
        self._nursery = tasks.Nursery("connect time", on_failure=on_failure)
        self._books = books.Books()
        self._tables: tables.Tables | None = None
        self._namespaces: dict[str, int] = {}
        self._sequence = self._acked = 0
        self._changed = asyncio.Event()
        self._settled = asyncio.Condition()
        self._nursery.start(self._write(), name="writer")

    async def attach(self) -> None:
        """Loads the programs and begins. Raises CannotLoad."""
        try:
            self._namespaces["the node"] = netns.cookie_here()
        except OSError as error:
            raise tables.CannotLoad(f"the kernel does not tell network namespaces apart: {error.strerror}") from None
        made = await tables.load()
        for namespace in self._namespaces.values():
            made.admit(namespace)
        self._tables = made
        self._changed.set()

    @property
    def is_attached(self) -> bool:
        return self._tables is not None

    def admit(self, pod: str, namespace: int) -> None:
        """The pod's clients are in that network namespace (its cookie); 0: the pod is gone."""
        before = self._namespaces.pop(pod, 0)
        if namespace:
            self._namespaces[pod] = namespace
        if self._tables is None or before == namespace:
            return
        try:
            if namespace:
                self._tables.admit(namespace)
            if before:
                self._tables.dismiss(before)
        except OSError as error:  # too many pods: nftables carries this one
            log.warning("a pod's connections are not balanced at connect time", pod=pod, problem=str(error))

    def connections(self, backend: str) -> int:
        """How many connections of the Backend's were balanced here."""
        number = self._books.number(backend)
        return self._tables.turns(number) if self._tables is not None and number is not None else 0

    async def apply(self, structure: table.Structure) -> int:
        self._books.want_structure(structure)
        return self._advance()

    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> int:
        self._books.want_endpoints(delta)
        return self._advance()

    async def acked(self, sequence: int) -> Ack:
        async with self._settled:
            await self._settled.wait_for(lambda: self._acked >= sequence)
        return Ack(self._acked)

    async def in_flight(self, address: str) -> int:
        """None of its own: they are direct connections, and the plane beside it counts them all."""
        return 0

    async def drained(self, address: str) -> int:
        """Asks the plane beside it, after our ack: a connection that was led here a moment ago is counted, too."""
        return await self._beside.drained(address)

    async def close(self) -> None:
        """Detaches the programs."""
        await self._nursery.close()
        self._let_go()

    def _advance(self) -> int:
        self._sequence += 1
        self._changed.set()
        return self._sequence

    async def _write(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            sequence = self._sequence
            if self._tables is not None:
                try:
                    await self._write_all(self._tables)
                except OSError as error:
                    self._let_go(f"its maps cannot be written: {error.strerror}")
                except Exception as error:
                    self._on_failure("connect time/writer", error)
                    self._let_go(f"a bug: {error!r}")
            async with self._settled:
                self._acked = sequence
                self._settled.notify_all()

    async def _write_all(self, to: tables.Tables) -> None:
        """All that is wanted, a little in each turn of the loop; what was given up is used again after its time."""
        while self._books.dirty:
            change = books.Change()
            self._books.take_into(change, limit=STEP_BACKENDS)
            to.write(change)
            await asyncio.sleep(0)
        if self._books.unsettled:
            await asyncio.to_thread(kernel.wait_for_programs)
            self._books.settle()
        if self._books.dirty:  # by `settle`, or by who did not wait: the ack of what is written does not wait for it
            self._changed.set()

    def _let_go(self, why: str = "") -> None:
        if self._tables is not None:
            self._tables.close()
            self._tables = None
        if why:
            log.warning("no more balancing at connect time; nftables carries everything", why=why)
            self._on_lost(why)

    def __repr__(self) -> str:
        state = "attached" if self.is_attached else "not attached"
        return f"<ConnectPlane {state}, {len(self._books)} backends at {self._acked} of {self._sequence}>"
