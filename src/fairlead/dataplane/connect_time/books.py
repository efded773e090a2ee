"""From the routing table to the programs' maps: which Services are balanced at connect time, and what a change changes.

Pure. Promises: a Backend's endpoints are in one block that is never written twice; a changed set is a new block and a
new head; addresses, blocks and numbers that were given up are used again only after `settle`, which the writer calls
when no program can still read them. Left to nftables: everything but TCP and UDP at a clusterIP in turn or at random,
Backends without a serving endpoint (REJECT and DROP are its), an address that two Backends want, what no room is left
for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead.dataplane import nft_rules, nft_state
from fairlead.dataplane.connect_time import layout
from fairlead.routing import carrier, endpoints, table

_Block = tuple[int, int]  # first endpoint, how many


@dataclass(frozen=True, slots=True)
class Part:
    """What one Backend has in the maps."""

    number: int
    keys: frozenset[bytes] = frozenset()
    places: tuple[nft_rules.Place, ...] = ()
    random: bool = False
    block: _Block | None = None

    @property
    def head(self) -> int:
        first = self.block[0] if self.block else 0
        return layout.head(first, len(self.places), random=self.random)


@dataclass
class Change:
    """What is to be written, in this order."""

    blocks: list[tuple[int, bytes]] = field(default_factory=list)  # first endpoint, all of them packed
    heads: dict[int, int] = field(default_factory=dict)
    added: dict[bytes, int] = field(default_factory=dict)
    gone: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.blocks or self.heads or self.added or self.gone)


class Books:
    """What is wanted, what is there, and the difference."""

    def __init__(self, *, backends: int = layout.BACKENDS, places: int = layout.ENDPOINTS) -> None:
        self._structure = table.Structure()
        self._endpoints: dict[str, tuple[table.Endpoint, ...]] = {}
        self._parts: dict[str, Part] = {}
        self._slots: dict[str, list[nft_rules.Place]] = {}
        self._wanted: dict[bytes, set[str]] = {}
        self._placed: dict[bytes, str] = {}
        self._numbers = _Room(backends)
        self._blocks = _Room(places)
        self._retired: list[tuple[_Room, _Block]] = []
        self._resting: set[bytes] = set()  # keys that were taken out and may not come back before `settle`
        self._waiting: set[bytes] = set()
        self._dirty: set[str] = set()
        self.left_out: set[str] = set()  # for want of room

    @property
    def dirty(self) -> bool:
        return bool(self._dirty)

    @property
    def unsettled(self) -> bool:
        """Whether something waits for `settle`."""
        return bool(self._retired or self._resting)

    def __len__(self) -> int:
        return len(self._parts)

    def number(self, backend: str) -> int | None:
        """The Backend's place in the map of Backends; None if it is not carried here."""
        part = self._parts.get(backend)
        return part.number if part else None

    def want_structure(self, structure: table.Structure) -> None:
        """Replaces the structure; Backends that differ are dirty."""
        old, new = self._structure.backends, structure.backends
        turned = self._structure.shut != structure.shut
        self._dirty |= {name for name in old.keys() | new.keys() if turned or old.get(name) != new.get(name)}
        self._structure = structure
        for name in self._endpoints.keys() - new.keys() & old.keys():
            del self._endpoints[name]

    def want_endpoints(self, delta: Iterable[table.BackendEndpoints]) -> None:
        """Replaces the endpoints of the Backends named."""
        for one in delta:
            if self._endpoints.get(one.backend, ()) != one.endpoints:
                self._endpoints[one.backend] = one.endpoints
                self._dirty.add(one.backend)

    def take_into(self, change: Change, *, limit: int) -> None:
        """Adds the changes of so many Backends, which are taken for done."""
        names = list(itertools.islice(self._dirty, limit))
        self._dirty.difference_update(names)
        for name in names:
            self._take(name, change)

    def settle(self) -> None:
        """No program reads any more what was given up before: it may be used again."""
        if self._retired:
            self._dirty |= self.left_out
            self.left_out.clear()
        for room, block in self._retired:
            room.give_back(block)
        self._retired.clear()
        self._resting.clear()
        waiting, self._waiting = self._waiting, set()
        for key in waiting:
            self._dirty |= self._wanted.get(key, set())

    def _take(self, name: str, change: Change) -> None:
        old, keys = self._parts.get(name), self._keys(name)
        if not keys:
            self._remove(name, change)
            return
        number = old.number if old else self._take_number()
        places = self._places(name)
        random = self._structure.backends[name].algorithm == "random"
        block = old.block if old and old.places == places else self._write(places, change)
        if number is None or (places and block is None):
            self.left_out.add(name)
            if number is not None and old is None:
                self._numbers.give_back((number, 1))
            self._remove(name, change)
            return
        part = self._parts[name] = Part(number, keys, places, random, block)
        if old is None or part.head != old.head:
            change.heads[number] = part.head
        if old is not None and old.block is not None and old.block != block:
            self._retired.append((self._blocks, old.block))
        self._claim(name, keys - (old.keys if old else frozenset()), change)
        self._release(name, (old.keys if old else frozenset()) - keys, change)
        for key in keys:
            if self._placed.get(key) is None:
                self._settle_key(key, change)

    def _remove(self, name: str, change: Change) -> None:
        self._slots.pop(name, None)
        old = self._parts.pop(name, None)
        if old is None:
            return
        change.heads[old.number] = 0
        self._retired.append((self._numbers, (old.number, 1)))
        if old.block is not None:
            self._retired.append((self._blocks, old.block))
        self._release(name, old.keys, change)

    def _take_number(self) -> int | None:
        found = self._numbers.take(1)
        return found[0] if found else None

    def _write(self, places: tuple[nft_rules.Place, ...], change: Change) -> _Block | None:
        block = self._blocks.take(len(places)) if places else None
        if block is not None:
            change.blocks.append((block[0], b"".join(layout.endpoint(*place) for place in places)))
        return block

    # -- addresses

    def _claim(self, name: str, keys: frozenset[bytes], change: Change) -> None:
        for key in keys:
            self._wanted.setdefault(key, set()).add(name)
            self._settle_key(key, change)

    def _release(self, name: str, keys: frozenset[bytes], change: Change) -> None:
        for key in keys:
            self._wanted[key].discard(name)
            self._settle_key(key, change)
            if not self._wanted[key]:
                del self._wanted[key]

    def _settle_key(self, key: bytes, change: Change) -> None:
        """An address is in the map for the one Backend that wants it, and not at all where two do."""
        wanted = self._wanted.get(key, set())
        (owner,) = wanted if len(wanted) == 1 else (None,)
        if self._placed.get(key) == owner:
            return
        if key in self._placed:
            del self._placed[key]
            if change.added.pop(key, None) is None:
                change.gone.append(key)
                self._resting.add(key)
        if owner is None:
            return
        if key in self._resting:
            self._waiting.add(key)
        elif owner in self._parts:
            self._placed[key] = owner
            change.added[key] = self._parts[owner].number

    # -- what a Backend wants

    def _keys(self, name: str) -> frozenset[bytes]:
        backend = self._structure.backends.get(name)
        if backend is None or self._structure.shut == "all" or not carrier.leads_straight(backend):
            return frozenset()
        protocol = layout.UDP if backend.protocol == "udp" else layout.TCP
        own = (one for one in backend.virtual if not (one.external or one.node_port or one.sources) and one.address)
        return frozenset(layout.place(one.address, one.port, protocol) for one in own)

    def _places(self, name: str) -> tuple[nft_rules.Place, ...]:
        backend = self._structure.backends[name]
        six = any(":" in one.address for one in backend.virtual if one.address)
        usable = [
            (one.address, one.port)
            for one in endpoints.serving(self._endpoints.get(name, ()))
            if (":" in one.address) == six
        ]
        slots = self._slots[name] = nft_state.assign(self._slots.get(name, []), usable[: nft_rules.SLOTS])
        return tuple(slots)


class _Room:
    """Numbers of which blocks are taken and given back, in sizes of powers of two. A larger one is halved where no
    other is left, and halves stay halves."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._free: dict[int, list[int]] = {}

    def take(self, count: int) -> _Block | None:
        wanted = _rounded(count)
        if not self._free.get(wanted) and self._used + wanted <= self._size:
            self._used += wanted
            return (self._used - wanted, count)
        larger = min((size for size, free in self._free.items() if free and size >= wanted), default=0)
        if not larger:
            return None
        first = self._free[larger].pop()
        while larger > wanted:
            larger //= 2
            self._free.setdefault(larger, []).append(first + larger)
        return (first, count)

    def give_back(self, block: _Block) -> None:
        self._free.setdefault(_rounded(block[1]), []).append(block[0])


def _rounded(count: int) -> int:
    return 1 << (count - 1).bit_length()
