"""Services' parts of the table, each by itself: one is made again only when its Service, or what it reads, has changed.

What one reads besides its Service: the policies attached to it, and who has the sockets that it wants. Of several that
want one socket the oldest has it, so a Service that comes or goes changes those that want the same; nobody else.
"""

from __future__ import annotations

import bisect
import collections
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import (
    attachments,
    carrier,
    draft,
    endpoints,
    load_balancers,
    names,
    service_doors,
    services,
    settings,
    table,
)

Object = dict[str, Any]
Age = tuple[str, str]
_YOUNGEST = "~~"  # the age of whoever only borrows: after every Service's own
_SECTIONS = ("listeners", "routes", "backends", "names", "sources")


@dataclass(frozen=True, slots=True)
class Part:
    """What one Service adds to the table, the sockets that it wanted, and who had them."""

    service: Object
    key: str
    age: Age
    listeners: Mapping[str, table.Listener]
    routes: Mapping[str, table.Route]
    backends: Mapping[str, table.Backend]
    names: Mapping[str, table.Name]
    sources: Mapping[str, endpoints.Source]
    statuses: tuple[draft.Status, ...]
    problems: tuple[Problem, ...]
    wanted: Mapping[str, str]

    @property
    def carried(self) -> frozenset[tuple[carrier.Carrier, str]]:
        """Who carries its addresses, and speaking what, where the kernel knows them."""
        return frozenset((carrier.carrier(one), one.protocol) for one in self.backends.values() if one.virtual)


class Claims:
    """Who has which socket: somebody who was there first, else the oldest of those that want it."""

    def __init__(self, first: Iterable[str]) -> None:
        self._first = dict.fromkeys(first, "the edge")
        self._wanting: dict[str, list[tuple[Age, str]]] = {}  # the oldest first

    def claim(self, socket: str, age: Age, owner: str) -> str:
        """Wants the socket; returns who has it."""
        wanting = self._wanting.setdefault(socket, [])
        if all(known[1] != age[1] for known, _ in wanting):  # of one Service, who came first
            bisect.insort(wanting, (age, owner))
        return self.holder(socket)

    def holder(self, socket: str) -> str:
        """Who has the socket; "" is nobody."""
        wanting = self._wanting.get(socket)
        return self._first.get(socket) or (wanting[0][1] if wanting else "")

    def wanting(self, socket: str) -> list[Age]:
        """The Services that want the socket."""
        return [age for age, _ in self._wanting.get(socket, ())]

    def release(self, socket: str, age: Age) -> None:
        """Wants it no more."""
        left = [one for one in self._wanting.get(socket, ()) if one[0][1] != age[1]]
        if left:
            self._wanting[socket] = left
        else:
            self._wanting.pop(socket, None)


@dataclass
class Parts:
    """All Services' parts and their sum, which `update` keeps in place."""

    where: settings.Settings
    listeners: dict[str, table.Listener] = field(default_factory=dict)
    routes: dict[str, table.Route] = field(default_factory=dict)
    backends: dict[str, table.Backend] = field(default_factory=dict)
    names: dict[str, table.Name] = field(default_factory=dict)
    sources: dict[str, endpoints.Source] = field(default_factory=dict)
    by_service: dict[str, tuple[endpoints.Source, ...]] = field(default_factory=dict)
    services: dict[str, Object] = field(default_factory=dict)
    _parts: dict[str, Part] = field(default_factory=dict)
    _at: dict[int, Part] = field(default_factory=dict)  # by the identity of the Service, which the part keeps
    _telling: dict[str, Part] = field(default_factory=dict)  # those with problems
    _reporting: dict[str, Part] = field(default_factory=dict)  # those with a status
    _carried: collections.Counter[tuple[carrier.Carrier, str]] = field(default_factory=collections.Counter)
    _fields: Mapping[attachments.Target, Mapping[str, Any]] = field(default_factory=dict)
    _refused: frozenset[str] = frozenset()
    _claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        self._claims = Claims((*self.where.edge_http, *self.where.edge_https))

    def changed(self, given: Sequence[Object]) -> tuple[list[Part], list[Object]]:
        """The parts whose Service is gone or another object, and the Services that have none."""
        now = dict(zip(map(id, given), given, strict=True))
        gone = [self._at[one] for one in self._at.keys() - now.keys()]
        return gone, [now[one] for one in now.keys() - self._at.keys()]

    def update(self, work: draft.Draft) -> None:
        """Makes the parts those of the draft's snapshot, which has its policies attached already."""
        gone, come = self.changed(work.snapshot.services)
        making = {draft.key(one): one for one in come}
        left = {part.key for part in gone}
        for key in self._affected(work) - left:
            if key in self._parts and key not in making:
                gone.append(self._parts[key])
                making[key] = self._parts[key].service
        touched = {socket for part in gone for socket in part.wanted}
        for part in gone:
            self._drop(part)
        for service in sorted(making.values(), key=draft.age):
            part = self._put(work, service)
            touched.update(part.wanted)
        for part in self._moved(touched):
            self._drop(part)
            self._put(work, part.service)

    def add_to(self, work: draft.Draft) -> None:
        """Gives the sum to a draft, which is to be continued and not written to."""
        work.services, work.listeners, work.routes = dict(self.services), dict(self.listeners), self.routes
        work.backends, work.names, work.sources = self.backends, dict(self.names), self.sources
        for part in self._telling.values():
            work.problems.extend(part.problems)
        for part in sorted(self._reporting.values(), key=_age):
            work.statuses.extend(part.statuses)
        names.begin(work)
        service_doors.add_transparent(work, frozenset(+self._carried))

    def _affected(self, work: draft.Draft) -> set[str]:
        """The Services whose policies, or whose refused doors, are others than before."""
        now, before = work.attached.fields, self._fields
        targets = [one for one in {*now, *before} if one.kind == "Service" and now.get(one) != before.get(one)]
        refused = frozenset(work.snapshot.refused)
        doors = [one.split("/") for one in refused ^ self._refused]
        self._fields, self._refused = now, refused
        return {*(f"{one.namespace}/{one.name}" for one in targets), *("/".join(door[1:3]) for door in doors)}

    def _moved(self, touched: Iterable[str]) -> list[Part]:
        """The parts that believe somebody else to have a socket."""
        moved = {}
        for socket in touched:
            holder = self._claims.holder(socket)
            for _, key in self._claims.wanting(socket):
                if self._parts[key].wanted[socket] != holder:
                    moved[key] = self._parts[key]
        return sorted(moved.values(), key=_age)

    def _put(self, work: draft.Draft, service: Object) -> Part:
        age, wanted = draft.age(service), dict[str, str]()

        def claim(socket: str, owner: str) -> str:
            return wanted.setdefault(socket, self._claims.claim(socket, age, owner))

        def borrow(socket: str, owner: str) -> str:
            return wanted.setdefault(socket, self._claims.claim(socket, (_YOUNGEST, age[1]), owner))

        refused = draft.Snapshot(refused=work.snapshot.refused)
        own = draft.Draft(refused, work.settings, attached=work.attached, claim=claim, borrow=borrow)
        services.add(own, service)
        load_balancers.add(own, service)
        names.add(own, service)
        part = Part(
            service, age[1], age, own.listeners, own.routes, dict(own.backends), own.names,
            dict(own.sources), tuple(own.statuses), tuple(own.problems), wanted,
        )  # fmt: skip
        self._add(part)
        return part

    def _add(self, part: Part) -> None:
        self._parts[part.key] = self._at[id(part.service)] = part
        self.services[part.key] = part.service
        for section in _SECTIONS:
            getattr(self, section).update(getattr(part, section))
        if part.sources:
            self.by_service[part.key] = tuple(part.sources.values())
        if part.problems:
            self._telling[part.key] = part
        if part.statuses:
            self._reporting[part.key] = part
        self._carried.update(part.carried)

    def _drop(self, part: Part) -> None:
        del self._parts[part.key], self._at[id(part.service)], self.services[part.key]
        for section in _SECTIONS:
            known = getattr(self, section)
            for name in getattr(part, section):
                del known[name]
        for known in (self.by_service, self._telling, self._reporting):
            known.pop(part.key, None)
        self._carried.subtract(part.carried)
        for socket in part.wanted:
            self._claims.release(socket, part.age)


def _age(part: Part) -> Age:
    return part.age
