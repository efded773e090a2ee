"""Services for tests of a kernel plane in a `worlds.World`: their table, and who answers at their address."""

from __future__ import annotations

import asyncio
import collections
from typing import Any

from fairlead.dataplane.plane import Nack, Plane
from fairlead.routing import table
from fairlead.testing import worlds

WEB, VIP = "default/web:80", "10.96.0.10"


def backend(
    name: str = WEB, *, address: str = VIP, port: int = 80, virtual: tuple[table.Virtual, ...] = (), **fields: Any
) -> table.Backend:
    """A Service port at that address, or with those virtual addresses."""
    own = virtual or (table.Virtual(address=address, port=port),)
    return table.Backend(id=name, protocol=fields.pop("protocol", "tcp"), virtual=own, **fields)


def structure(*backends: table.Backend) -> table.Structure:
    return table.Structure(backends={one.id: one for one in backends})


def of(name: str, *pods: worlds.Pod, state: str = "ready", family: int = 4) -> table.BackendEndpoints:
    """The pods as that Backend's endpoints."""
    addresses = [pod.address if family == 4 else pod.address6 for pod in pods]
    made = tuple(
        table.Endpoint(address=address, port=worlds.PORT, state="draining" if state == "draining" else "ready")
        for address in addresses
    )
    return table.BackendEndpoints(backend=name, endpoints=made)


async def carry(plane: Plane, made: table.Structure, *delta: table.BackendEndpoints) -> tuple[Nack, ...]:
    """Applies both and waits for the ack."""
    await plane.apply(made)
    async with asyncio.timeout(10):
        ack = await plane.acked(await plane.apply_endpoints(delta))
    return ack.nacks


async def servers(
    world: worlds.World, space: worlds.Space, count: int, address: str = VIP, port: int = 80, **options: Any
) -> collections.Counter[str]:
    """How often each server answered."""
    answers = [await world.ask(space, address, port, **options) for _ in range(count)]
    return collections.Counter(answer if isinstance(answer, str) else answer[0] for answer in answers)
