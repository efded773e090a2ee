"""From the routing table to the kernel's: what each Backend has there, and what a change of it changes.

Pure. A Backend that changes costs what it holds, however many others there are. Endpoints keep their slots: a replaced
one is one element's update, a smaller count moves the last endpoint into the hole.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from fairlead.dataplane import nft_rules
from fairlead.dataplane.plane import Nack
from fairlead.routing import carrier, endpoints, table

_CHOICES: dict[str, Literal["turn", "random", "source"]] = {
    "random": "random", "ip-hash": "source", "sh": "source",
}  # fmt: skip
_SHARED = ("hairpin", "addresses")
_NOTHING = object()  # what no element has
_OWN = "endpoints"  # maps whose keys hold the Backend's number: nobody else wants them


@dataclass(frozen=True, slots=True)
class Site:
    """Where the rules work: the networks of this node's pods."""

    pods: tuple[str, ...] = ()


class State:
    """What is wanted, what is there, and the difference."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._structure = table.Structure()
        self._endpoints: dict[str, tuple[table.Endpoint, ...]] = {}
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []
        self._freed: list[int] = []
        self._next = itertools.count(1)
        self._slots: dict[str, list[nft_rules.Place]] = {}
        self._parts: dict[str, nft_rules.Part] = {}
        self._references: Counter[nft_rules.Element] = Counter()
        self._owners: dict[nft_rules.Element, str] = {}
        self._locals: dict[str, set[str]] = {}  # a Backend -> those that hold its node-local endpoints
        self._preferred: dict[nft_rules.Element, int] = {}
        self._nacks: dict[str, list[Nack]] = {}
        self._dirty: set[str] = set()

    @property
    def nacks(self) -> tuple[Nack, ...]:
        return tuple(nack for found in self._nacks.values() for nack in found)

    def parts(self) -> list[nft_rules.Part]:
        """What every Backend has in the kernel."""
        return list(self._parts.values())

    @property
    def dirty(self) -> bool:
        return bool(self._dirty)

    def prefer(self, numbers: Mapping[nft_rules.Element, int]) -> None:
        """Numbers that an earlier life gave, by the address asked for: what the kernel remembers stays true."""
        self._preferred = dict(numbers)
        self._next = itertools.count(max(numbers.values(), default=0) + 1)

    def inner_addresses(self) -> frozenset[str] | None:
        """The Services' own addresses; None where there are no others, for clients outside."""
        every = [one for backend in self._structure.backends.values() for one in backend.virtual]
        if not any(one.external for one in every):
            return None
        return frozenset(one.address for one in every if not one.external)

    def members(self) -> set[tuple[int, nft_rules.Place]]:
        """(base, endpoint) of every Backend with affinity."""
        found = set()
        for part in self._parts.values():
            spread = _spread_of(part)
            if spread is not None and spread.affinity_seconds:
                found |= {(spread.base, place) for place in _places(part, spread)}
        return found

    def __len__(self) -> int:
        return len(self._parts)

    def want_structure(self, structure: table.Structure) -> None:
        """Replaces the structure; Backends that differ are dirty."""
        old, new = self._structure.backends, structure.backends
        turned = self._structure.shut != structure.shut
        changed = {name for name in old.keys() | new.keys() if turned or old.get(name) != new.get(name)}
        if _doors(self._structure) != _doors(structure):
            changed |= {name for name, one in new.items() if one.virtual and carrier.carrier(one) != "kernel"}
        self._structure = structure
        if changed:
            self._dirty |= changed
            before, self._locals = self._locals, {}
            for name, backend in new.items():
                for virtual in backend.virtual:
                    if virtual.cluster:
                        self._locals.setdefault(virtual.cluster, set()).add(name)
            self._dirty |= before.keys() ^ self._locals.keys()
        for name in self._endpoints.keys() - new.keys() & old.keys():
            del self._endpoints[name]

    def want_endpoints(self, delta: Iterable[table.BackendEndpoints]) -> None:
        """Replaces the endpoints of the Backends named."""
        for one in delta:
            before = self._endpoints.get(one.backend, ())
            if before == one.endpoints:
                continue
            self._endpoints[one.backend] = one.endpoints
            self._dirty.add(one.backend)
            if bool(before) != bool(one.endpoints):
                self._dirty |= self._locals.get(one.backend, set())

    def forget_kernel(self) -> None:
        """The kernel's table is new and empty: everything is to be written again."""
        self._dirty = set(self._structure.backends) | set(self._parts)
        self._parts.clear()
        self._references.clear()
        self._owners.clear()

    def take(self) -> nft_rules.Transaction:
        """All changes to commit now, which are taken for done."""
        change = self.begin()
        self.take_into(change, limit=len(self._dirty))
        return change

    def begin(self) -> nft_rules.Transaction:
        """A new transaction. Numbers that the last one freed may be given again: their chains are gone by now."""
        self._free += self._freed
        self._freed = []
        return nft_rules.Transaction()

    def take_into(self, change: nft_rules.Transaction, *, limit: int) -> None:
        """Adds the changes of so many Backends; what changes again before the commit may be added again."""
        names = sorted(self._dirty)[:limit]
        self._dirty -= set(names)
        fresh = {name: self._part(name) for name in names}
        for name, part in fresh.items():
            self._leave(name, part, change)
        for name, part in fresh.items():
            self._enter(name, part, change)
        self._freed += [self._numbers.pop(n) for n in names if n not in self._structure.backends and n in self._numbers]

    # -- the difference of one Backend

    def _leave(self, name: str, part: nft_rules.Part, change: nft_rules.Transaction) -> None:
        old = self._parts.get(name)
        if old is None:
            return
        for element, data in old.elements.items():
            if part.elements.get(element, _NOTHING) != data:
                self._drop(name, element, change)
        change.gone_chains += [chain for chain in old.chains if chain not in part.chains]
        before, after = _spread_of(old), _spread_of(part)
        if before is not None:
            now = set(self._slots.get(name, ())) if after is not None else set()
            change.left += [(before, one) for one in _places(old, before) if one not in now]

    def _enter(self, name: str, part: nft_rules.Part, change: nft_rules.Transaction) -> None:
        old = self._parts.get(name) or nft_rules.Part()
        for chain, rules in part.chains.items():
            if chain not in old.chains:
                change.new_chains.append(chain)
            if old.chains.get(chain) != rules:
                change.rewritten[chain] = rules
        kept = {}
        for element, data in part.elements.items():
            if old.elements.get(element, _NOTHING) == data or self._add(name, element, data, change):
                kept[element] = data
        if part.chains:
            self._parts[name] = nft_rules.Part(part.chains, kept)
        else:
            self._parts.pop(name, None)
            self._slots.pop(name, None)

    def _drop(self, name: str, element: nft_rules.Element, change: nft_rules.Transaction) -> None:
        if element[0].startswith(_OWN):
            if change.added.pop(element, None) is None:
                change.deleted.append(element)
            return
        self._references[element] -= 1
        if self._references[element] <= 0:
            del self._references[element]
            if self._owners.pop(element, None) is not None and self._nacks:
                self._dirty |= self._nacks.keys()  # who wanted it may have it now
            if element in change.added:
                del change.added[element]
            else:
                change.deleted.append(element)

    def _add(self, name: str, element: nft_rules.Element, data: nft_rules.Data, change: nft_rules.Transaction) -> bool:
        if element[0].startswith(_OWN):
            change.added[element] = data
            return True
        owner = self._owners.get(element)
        if owner is not None and owner != name and not element[0].startswith(_SHARED):
            where = ":".join(str(one) for one in element[1])
            self._nacks.setdefault(name, []).append(Nack(f"backend/{name}", "virtual", f"{where} belongs to {owner}"))
            return False
        self._references[element] += 1
        if self._references[element] == 1:
            self._owners[element] = name
            change.added[element] = data
        return True

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = self._preferred_number(name) or (self._free.pop() if self._free else next(self._next))
        return self._numbers[name]

    def _preferred_number(self, name: str) -> int:
        backend = self._structure.backends.get(name)
        if backend is None or not self._preferred:
            return 0
        for virtual in backend.virtual:
            for family in (4, 6):
                number = self._preferred.pop(_asked_for(backend, virtual, "services", family), 0)
                if number and number not in self._numbers.values():
                    return number
        return 0

    # -- what one Backend has

    def _part(self, name: str) -> nft_rules.Part:
        self._nacks.pop(name, None)
        backend = self._structure.backends.get(name)
        if backend is None or not (backend.virtual or name in self._locals):
            return nft_rules.Part()
        family = self._family(backend)
        number, chain = self._number(name), self._chain(name)
        rules = self._rules(backend, family)
        chains: dict[str, tuple[nft_rules.Rule, ...]] = {chain: rules}
        elements: dict[nft_rules.Element, nft_rules.Data] = {}
        for rule in rules:
            if isinstance(rule, nft_rules.Spread):
                elements |= self._endpoint_elements(name, rule)
                if rule.affinity_seconds:
                    chains[f"a{number}"] = (nft_rules.Remember(family, rule.base, rule.affinity_seconds),)
        for index, virtual in enumerate(backend.virtual):
            target = self._virtual_chains(virtual, f"v{number}-{index}", chain, family, chains)
            elements |= _virtual_elements(backend, virtual, target, family)
            if f"a{number}" in chains:
                elements[_asked_for(backend, virtual, "affine", family)] = (f"a{number}",)
        return nft_rules.Part(chains, elements)

    def _chain(self, name: str) -> str:
        return f"b{self._number(name)}"

    def _family(self, backend: table.Backend) -> nft_rules.Family:
        addresses = [one.address for one in backend.virtual if one.address]
        addresses += [one.address for one in self._endpoints.get(backend.id, ())[:1]]
        return 6 if addresses and ":" in addresses[0] else 4

    def _rules(self, backend: table.Backend, family: nft_rules.Family) -> tuple[nft_rules.Rule, ...]:
        usable = [
            (one.address, one.port)
            for one in endpoints.serving(self._endpoints.get(backend.id, ()))
            if (":" in one.address) == (family == 6)
        ]
        if self._structure.shut == "all":
            return (nft_rules.Refuse(),)
        if not usable and not backend.hold:
            wide = any(virtual.cluster and self._endpoints.get(virtual.cluster) for virtual in backend.virtual)
            return (nft_rules.Drop() if wide else nft_rules.Refuse(),)
        if carrier.carrier(backend) != "kernel":
            return (self._redirect(backend, family),)
        slots = self._assign(backend.id, usable)
        spread = nft_rules.Spread(
            family=family,
            base=self._number(backend.id) * nft_rules.SLOTS,
            count=len(slots),
            choice=_CHOICES.get(backend.algorithm, "turn"),
            affinity_seconds=backend.affinity.timeout_seconds if backend.affinity else 0.0,
            protocol="udp" if backend.protocol == "udp" else "tcp",
        )
        return (spread,)

    def _assign(self, name: str, usable: list[nft_rules.Place]) -> list[nft_rules.Place]:
        if len(usable) > nft_rules.SLOTS:
            text = f"only {nft_rules.SLOTS} of {len(usable)} endpoints are carried"
            self._nacks.setdefault(name, []).append(Nack(f"backend/{name}", "endpoints", text))
            usable = usable[: nft_rules.SLOTS]
        slots = self._slots[name] = assign(self._slots.get(name, []), usable)
        return slots

    def _redirect(self, backend: table.Backend, family: nft_rules.Family) -> nft_rules.Rule:
        wanted = "http" if carrier.carrier(backend) == "engine-l7" else "tcp"
        if backend.protocol == "udp":
            wanted = f"{carrier.DATAGRAMS}/{backend.id}"
        door = _doors(self._structure).get((wanted, family))
        if door is None:
            text = f"no transparent {wanted} Listener of the engine for IPv{family}"
            self._nacks.setdefault(backend.id, []).append(Nack(f"backend/{backend.id}", "virtual", text))
            return nft_rules.Refuse()
        return nft_rules.Redirect(family, *door)

    def _endpoint_elements(self, name: str, rule: nft_rules.Spread) -> dict[nft_rules.Element, nft_rules.Data]:
        found: dict[nft_rules.Element, nft_rules.Data] = {}
        places, hairpin = nft_rules.endpoints_map(rule.family, rule.base), f"hairpin{rule.family}"
        for number, (address, port) in enumerate(self._slots[name], start=rule.base):
            found[(places, (number,))] = (address, port)
            found[(hairpin, (address,))] = ()
        return found

    def _virtual_chains(
        self,
        virtual: table.Virtual,
        name: str,
        chain: str,
        family: nft_rules.Family,
        chains: dict[str, tuple[nft_rules.Rule, ...]],
    ) -> str:
        """The chain that the address leads to: the Backend's own, or one that looks at the client first."""
        target = chain
        if virtual.external and virtual.cluster and virtual.cluster in self._structure.backends:
            here = nft_rules.FromHere(family, self._site.pods, self._chain(virtual.cluster))
            chains[f"{name}h"] = (here, nft_rules.Goto(target))
            target = f"{name}h"
        if virtual.sources:
            chains[f"{name}s"] = (nft_rules.Allow(family, virtual.sources, target),)
            target = f"{name}s"
        if self._structure.shut == "outside" and virtual.external:
            chains[f"{name}p"] = (nft_rules.From(family, self._site.pods, target), nft_rules.Refuse())
            target = f"{name}p"
        return target


def assign(old: list[nft_rules.Place], usable: Iterable[nft_rules.Place]) -> list[nft_rules.Place]:
    """Slots for the endpoints: who stays keeps his, newcomers fill holes, the last move into holes that are left."""
    wanted = dict.fromkeys(usable)
    slots: list[nft_rules.Place | None] = [one if one in wanted else None for one in old]
    known = set(old)
    newcomers = [one for one in wanted if one not in known]
    for index, one in enumerate(slots):
        if one is None and newcomers:
            slots[index] = newcomers.pop(0)
    slots += newcomers
    while None in slots:
        last = slots.pop()
        if last is not None:
            slots[slots.index(None)] = last
    return [one for one in slots if one is not None]


def _spread_of(part: nft_rules.Part) -> nft_rules.Spread | None:
    return next((rule for rules in part.chains.values() for rule in rules if isinstance(rule, nft_rules.Spread)), None)


def _places(part: nft_rules.Part, spread: nft_rules.Spread) -> list[nft_rules.Place]:
    name = nft_rules.endpoints_map(spread.family, spread.base)
    return [(str(data[0]), int(data[1])) for (map_name, _), data in part.elements.items() if map_name == name]


def _doors(structure: table.Structure) -> Mapping[tuple[str, int], nft_rules.Place]:
    """The Listeners that the kernel leads to, by address family and protocol, or id where they are of one Backend."""
    found: dict[tuple[str, int], nft_rules.Place] = {}
    for listener in structure.listeners.values():
        own = listener.id.startswith(f"{carrier.DATAGRAMS}/")
        for one in listener.sockets if listener.transparent or own else ():
            host, _, port = one.partition(":")[2].rpartition(":")
            address = host.strip("[]")
            found[(listener.id if own else listener.protocol, 6 if ":" in address else 4)] = (address, int(port))
    return found


def _asked_for(backend: table.Backend, virtual: table.Virtual, purpose: str, family: int) -> nft_rules.Element:
    """The key under which a connection to this address is found, in the maps and sets of that purpose."""
    protocol = "udp" if backend.protocol == "udp" else "tcp"
    if virtual.node_port:
        return (f"{'node' if purpose == 'services' else purpose}ports{family}", (protocol, virtual.port))
    return (f"{purpose}{family}", (virtual.address, protocol, virtual.port))


def _virtual_elements(
    backend: table.Backend, virtual: table.Virtual, target: str, family: nft_rules.Family
) -> dict[nft_rules.Element, nft_rules.Data]:
    found: dict[nft_rules.Element, nft_rules.Data] = {_asked_for(backend, virtual, "services", family): (target,)}
    if virtual.external and not virtual.cluster:
        found[_asked_for(backend, virtual, "masquerade", family)] = ()
    if not virtual.external:
        found[(f"addresses{family}", (virtual.address,))] = ()
    return found
