"""The rules of a Service as typed values: what a chain holds and what the maps hold. Encoding is `nft_encode`'s.

A chain's name and a Backend's number are ours: no user's text ever enters a rule. A Backend has a block of SLOTS
numbers; a Spread picks one (`numgen inc mod N offset BASE`) and finds the endpoint under it in one map, so that a
replaced endpoint is an element's update and only a changed count replaces a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SLOTS = 1 << 14  # endpoints of one Backend at most; 2**18 Backends
SHARDS = 64  # maps of endpoints per address family
Family = Literal[4, 6]
Place = tuple[str, int]  # address, port


@dataclass(frozen=True, slots=True)
class Spread:
    """To one of the endpoints in slots BASE .. BASE + count - 1."""

    family: Family
    base: int
    count: int
    choice: Literal["turn", "random", "source"] = "turn"
    affinity_seconds: float = 0.0
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class Refuse:
    """TCP gets a reset, everything else "port unreachable"."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing is answered."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """To a transparent Listener of the engine."""

    family: Family
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Allow:
    """Only clients of these networks go on, to that chain; others are dropped."""

    family: Family
    networks: tuple[str, ...]
    chain: str


@dataclass(frozen=True, slots=True)
class From:
    """Clients of these networks go to that chain instead."""

    family: Family
    networks: tuple[str, ...]
    chain: str


@dataclass(frozen=True, slots=True)
class FromHere:
    """Clients of this node (the node itself, and these networks of its pods) go to that chain instead."""

    family: Family
    networks: tuple[str, ...]
    chain: str


@dataclass(frozen=True, slots=True)
class Remember:
    """The client keeps the endpoint that it was sent to, for so long after its last new connection."""

    family: Family
    base: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Goto:
    chain: str


def endpoints_map(family: int, base: int) -> str:
    """The map that holds a Backend's endpoints.

    There are several because the kernel visits every rule that uses a map to add an element, and every element to add
    a rule: with one map, a first load of 5,000 Services of 10 endpoints takes 4 s, and each changed count 5 ms.
    """
    return f"endpoints{family}_{base // SLOTS % SHARDS:02d}"


Rule = Spread | Refuse | Drop | Redirect | Allow | From | FromHere | Remember | Goto
Element = tuple[str, tuple[str | int, ...]]  # map or set, key
Data = tuple[str | int, ...]  # () in a set; (address, port) or (chain,) in a map


@dataclass(frozen=True, slots=True)
class Part:
    """All that one Backend has in the table."""

    chains: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    elements: Mapping[Element, Data] = field(default_factory=dict)


@dataclass
class Transaction:
    """Changes that are committed together, in the order in which the kernel takes them."""

    new_chains: list[str] = field(default_factory=list)
    rewritten: dict[str, tuple[Rule, ...]] = field(default_factory=dict)  # chain -> its rules
    deleted: list[Element] = field(default_factory=list)
    added: dict[Element, Data] = field(default_factory=dict)
    gone_chains: list[str] = field(default_factory=list)
    left: list[tuple[Spread, Place]] = field(default_factory=list)  # endpoints that a Backend has no more

    def __bool__(self) -> bool:
        return bool(self.new_chains or self.rewritten or self.deleted or self.added or self.gone_chains)

    @property
    def size(self) -> int:
        """About how many messages it is."""
        return len(self.deleted) + len(self.added) + 4 * len(self.rewritten) + len(self.gone_chains)
