"""What carries traffic, behind one interface: the engine and the kernel's nftables; tests have a faithful fake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fairlead.routing.table import BackendEndpoints, Structure


@dataclass(frozen=True, slots=True)
class Nack:
    """An object of the table that a plane did not take, and why."""

    object: str  # "backend/ID", "route/ID", …
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Ack:
    """A plane works by everything up to `sequence`; the objects in `nacks` were left out."""

    sequence: int
    nacks: tuple[Nack, ...] = ()


class Plane(Protocol):
    """One carrier of traffic. Sequence numbers are the plane's own, rising by one with each apply."""

    name: str

    async def apply(self, structure: Structure) -> int:
        """Sends the whole desired structure; the plane sends on only what changed. Returns the sequence to wait for."""

    async def apply_endpoints(self, delta: Sequence[BackendEndpoints]) -> int:
        """Sends the endpoints of the Backends named. Returns the sequence to wait for."""

    async def acked(self, sequence: int) -> Ack:
        """Returns when the plane works by `sequence` (at once if it already does)."""

    async def drained(self, address: str) -> int:
        """Takes the address out of every Backend and returns when nothing is in flight to it: 0, or how many
        connections were still open when the plane gave up or died. Cancelling forgets the drain."""

    async def close(self) -> None:
        """Lets go of the plane. What it carries goes on."""


@runtime_checkable
class Counting(Protocol):
    """A plane that can count what is in flight to an address; of others only "at least one" is known."""

    async def in_flight(self, address: str) -> int:
        """How many connections to the address are open now."""


@runtime_checkable
class Receiving(Protocol):
    """A plane by which clients come in from outside the cluster."""

    async def seen_out(self, doors: Sequence[str]) -> int:
        """Returns when whoever came in by these Listeners (which are no more) or by an address for clients outside has
        gone: 0, as `drained`. Idle ones are told to go. Cancelling forgets it."""
