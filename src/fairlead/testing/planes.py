"""A plane without traffic, and the checks that every plane passes.

`FakePlane` answers like a real one: `answer` tells by the reference interpreter where a connection would go, acks may
be held back, connections may be opened to addresses so that drains wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fairlead.dataplane.plane import Ack, Nack, Plane
from fairlead.routing import interpret, table


class FakePlane:
    """A Plane that carries nothing and tells everything."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.structure = table.Structure()
        self.endpoints: dict[str, tuple[table.Endpoint, ...]] = {}
        self.connections: dict[str, int] = {}
        self.draining: list[str] = []
        self.leaving: tuple[str, ...] = ()
        self.guests = 0
        self.nacks: tuple[Nack, ...] = ()
        self.closed = False
        self.deltas: list[tuple[table.BackendEndpoints, ...]] = []
        self._sequence = 0
        self._holding = False
        self._changed = asyncio.Event()

    async def apply(self, structure: table.Structure) -> int:
        self.structure = structure
        for backend in self.endpoints.keys() - structure.backends.keys():
            del self.endpoints[backend]
        return self._advance()

    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> int:
        self.deltas.append(tuple(delta))
        for one in delta:
            self.endpoints[one.backend] = one.endpoints
        return self._advance()

    async def acked(self, sequence: int) -> Ack:
        while self._holding:
            await self._changed.wait()
        return Ack(self._sequence, self.nacks)

    async def drained(self, address: str) -> int:
        self.draining.append(address)
        try:
            while self.connections.get(address):
                await self._changed.wait()
        finally:
            self.draining.remove(address)
        return 0

    async def in_flight(self, address: str) -> int:
        return self.connections.get(address, 0)

    async def seen_out(self, doors: Sequence[str]) -> int:
        self.leaving = tuple(doors)
        while self.guests:
            await self._changed.wait()
        return 0

    async def close(self) -> None:
        self.closed = True

    def hold_acks(self, hold: bool = True) -> None:
        """Acks wait until `hold_acks(False)`."""
        self._holding = hold
        self._wake()

    def connect(self, address: str, count: int = 1) -> None:
        """Opens connections to an endpoint."""
        self.connections[address] = self.connections.get(address, 0) + count

    def disconnect(self, address: str) -> None:
        """Closes all of them."""
        self.connections.pop(address, None)
        self._wake()

    def receive(self, count: int) -> None:
        """So many clients who came in from outside are there."""
        self.guests = count
        self._wake()

    def answer(self, address: str, port: int, *, source: str = "", protocol: str = "tcp") -> interpret.Answer:
        """Where a connection would go now."""
        return interpret.packet(
            self.structure, self.endpoints, source=source, protocol=protocol, address=address, port=port
        )

    def addresses(self, backend: str) -> list[str]:
        """`address:port`, or `address:port/draining`, of the Backend."""
        found = self.endpoints.get(backend, ())
        return [f"{e.address}:{e.port}" + ("/draining" if e.state == "draining" else "") for e in found]

    def _advance(self) -> int:
        self._sequence += 1
        return self._sequence

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


WEB = "default/web:80"


def example(*addresses: str) -> tuple[table.Structure, list[table.BackendEndpoints]]:
    """A Service at 10.96.0.1:80 with those endpoints."""
    backend = table.Backend(id=WEB, protocol="tcp", virtual=(table.Virtual(address="10.96.0.1", port=80),))
    endpoints = tuple(table.Endpoint(address=address, port=8080, name=f"default/{address}") for address in addresses)
    return table.Structure(backends={WEB: backend}), [table.BackendEndpoints(backend=WEB, endpoints=endpoints)]


async def _sequences_rise(plane: Plane) -> None:
    structure, endpoints = example("10.0.0.1")
    first = await plane.apply(structure)
    second = await plane.apply_endpoints(endpoints)
    assert second == first + 1
    assert (await plane.acked(second)).sequence >= second
    assert (await plane.acked(first)).sequence >= first


async def _the_same_table_again_is_harmless(plane: Plane) -> None:
    structure, endpoints = example("10.0.0.1", "10.0.0.2")
    for _ in range(2):
        await plane.apply(structure)
        sequence = await plane.apply_endpoints(endpoints)
    assert (await plane.acked(sequence)).nacks == ()


async def _endpoints_may_come_first_or_for_nobody(plane: Plane) -> None:
    structure, endpoints = example("10.0.0.1")
    await plane.apply_endpoints([*endpoints, table.BackendEndpoints(backend="no/body:1")])
    assert (await plane.acked(await plane.apply(structure))).nacks == ()


async def _everything_can_go(plane: Plane) -> None:
    structure, endpoints = example("10.0.0.1")
    await plane.apply(structure)
    await plane.apply_endpoints(endpoints)
    await plane.apply_endpoints([table.BackendEndpoints(backend=WEB)])
    assert (await plane.acked(await plane.apply(table.Structure()))).nacks == ()


async def _an_idle_address_is_drained_at_once(plane: Plane) -> None:
    structure, endpoints = example("10.0.0.1", "10.0.0.2")
    await plane.apply(structure)
    await plane.acked(await plane.apply_endpoints(endpoints))
    assert await plane.drained("10.0.0.1") == 0
    assert await plane.drained("10.0.0.99") == 0


CHECKS: tuple[Callable[[Plane], Awaitable[None]], ...] = (
    _sequences_rise,
    _the_same_table_again_is_harmless,
    _endpoints_may_come_first_or_for_nobody,
    _everything_can_go,
    _an_idle_address_is_drained_at_once,
)


async def check_plane(make: Callable[[], Awaitable[Plane]], *, seconds: float = 10.0) -> None:
    """Runs every check on a new plane each; raises what fails, with the check's name."""
    for check in CHECKS:
        plane = await make()
        try:
            async with asyncio.timeout(seconds):
                await check(plane)
        except BaseException as error:
            error.add_note(f"check {check.__name__} of {plane!r}")
            raise
        finally:
            await plane.close()
