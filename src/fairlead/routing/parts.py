"""Parts of a translation that are made again only when something that they read has changed, and what they add up to.

A part has a key, inputs (compared by identity, words by equality) and what it looked up while it was made: Services,
Secrets and ConfigMaps by name. While all of these are the same objects, its outcome is the same, and so are the very
objects of the table, which planes need not compare. The sum of all parts is kept, too: a translation after one change
touches the parts that it concerns, however many there are. A Service that is another object, but leads each reference
to what it led to before and has the same annotations (a port that nobody asked for, a label, a status), concerns none.
Parts do not see each other; a Backend that several need is each one's own, and the sum has it for as long as one of
them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import attachments, draft, endpoints, references, table

Object = dict[str, Any]
Seen = tuple[str, str, Object | None]  # kind of the collection, namespace/name, what was there


class Tracked(Mapping[str, Object]):
    """A collection that remembers what was looked up in it."""

    def __init__(self, kind: str, objects: Mapping[str, Object], seen: list[Seen]) -> None:
        self._kind, self._objects, self._seen = kind, objects, seen

    def __getitem__(self, key: str) -> Object:
        found: Object | None = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: str, default: Any = None) -> Any:
        found = self._objects.get(key)
        self._seen.append((self._kind, key, found))
        return default if found is None else found

    def __iter__(self) -> Any:
        raise TypeError("a part looks objects up by name; a walk over all of them would depend on all")

    def __len__(self) -> int:
        raise TypeError("a part looks objects up by name")


@dataclass(frozen=True, slots=True)
class Part:
    """What one part adds to a table, and what it depends on."""

    inputs: tuple[object, ...]
    seen: tuple[Seen, ...]
    routes: Mapping[str, table.Route]
    backends: Mapping[str, table.Backend]
    certificates: Mapping[str, table.Certificate]
    sources: Mapping[str, endpoints.Source]
    problems: tuple[Problem, ...]
    asked: Mapping[draft.Asked, object]


Key = tuple[str, str]
_SECTIONS = ("routes", "backends", "certificates", "sources")


class _Sum:
    """What all parts have in one section. Of a thing that several have, the first one's counts."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._all: dict[str, list[Any]] = {}

    def add(self, things: Mapping[str, Any]) -> None:
        for name, thing in things.items():
            self._all.setdefault(name, []).append(thing)
            self.values.setdefault(name, thing)

    def remove(self, things: Mapping[str, Any]) -> None:
        for name, thing in things.items():
            left = self._all[name]
            del left[next(at for at, one in enumerate(left) if one is thing)]
            if not left:
                del self._all[name], self.values[name]
            elif self.values[name] is thing:
                self.values[name] = left[0]


@dataclass
class Memory:
    """The parts of the translation before, and their sum."""

    _parts: dict[Key, Part] = field(default_factory=dict)
    _sums: dict[str, _Sum] = field(default_factory=lambda: {name: _Sum() for name in _SECTIONS})
    _telling: dict[Key, None] = field(default_factory=dict)  # parts with problems
    _readers: dict[tuple[str, str], dict[Key, None]] = field(default_factory=dict)  # who looked that object up
    _known: dict[str, Mapping[str, Object]] = field(default_factory=dict)
    _attached: attachments.Attached | None = None

    def begin(self, work: draft.Draft) -> list[Key]:
        """A translation begins. Returns the parts that looked up something that is no longer the same.

        Policies reach into many parts: when they change, all parts are to be made again.
        """
        stale: dict[Key, None] = {}
        if self._attached is None or self._attached.fields != work.attached.fields:
            stale.update(dict.fromkeys(self._parts))
            for key in stale:
                self.drop(key)
        self._attached = work.attached
        now = {"Service": work.services, "Secret": work.secrets, "ConfigMap": work.config_maps}
        for kind, objects in now.items():
            before = self._known.get(kind, {})
            if objects is before:
                continue
            for name in {*objects, *before}:
                was, found = before.get(name), objects.get(name)
                if found is not was and (kind, name) in self._readers:
                    stale.update(dict.fromkeys(self._concerned(work, kind, name, was, found)))
        self._known = now
        return list(stale)

    def _concerned(
        self, work: draft.Draft, kind: str, name: str, was: Object | None, found: Object | None
    ) -> Iterable[Key]:
        """The readers of that object to which the new one is not as good as the old one."""
        readers = self._readers[kind, name]
        if was is None or found is None:
            return readers
        if kind != "Service":
            return () if _content(was) == _content(found) else readers
        if (was["metadata"].get("annotations") or {}) != (found["metadata"].get("annotations") or {}):
            return readers
        scratch = draft.below(work, services=work.services, secrets={}, config_maps={})
        now: dict[draft.Asked, object] = {}
        return [key for key in readers if not self._leads_on(scratch, now, key, name)]

    def _leads_on(self, scratch: draft.Draft, now: dict[draft.Asked, object], key: Key, service: str) -> bool:
        for asked, before in self._parts[key].asked.items():
            if asked[0] == service:
                if asked not in now:
                    now[asked] = references.outcome(scratch, asked)
                if now[asked] != before:
                    return False
        return True

    def part(
        self, work: draft.Draft, key: Key, inputs: tuple[object, ...], make: Callable[[draft.Draft], None]
    ) -> Part:
        """The part as it was, or made by `make` in a draft of its own. `work` has only what no part has made."""
        known = self._parts.get(key)
        if known is None or not _same(known.inputs, inputs) or not _current(known.seen, work):
            self.drop(key)
            known = self._parts[key] = _made(work, inputs, make)
            for name, one in self._sums.items():
                one.add(getattr(known, name))
            if known.problems:
                self._telling[key] = None
            for kind, name, _ in known.seen:
                self._readers.setdefault((kind, name), {})[key] = None
        return known

    def readers(self, kind: str, name: str) -> int:
        """How many parts have looked that object up."""
        return len(self._readers.get((kind, name), ()))

    def get(self, key: Key) -> Part | None:
        """The part as it is."""
        return self._parts.get(key)

    def drop(self, key: Key) -> None:
        """The part is no more."""
        known = self._parts.pop(key, None)
        if known is None:
            return
        for name, one in self._sums.items():
            one.remove(getattr(known, name))
        self._telling.pop(key, None)
        for kind, name, _ in known.seen:
            readers = self._readers[kind, name]
            del readers[key]
            if not readers:
                del self._readers[kind, name]

    def add_to(self, work: draft.Draft) -> None:
        """Adds the sum of all parts to a draft."""
        work.routes.update(self._sums["routes"].values)
        work.backends.update(self._sums["backends"].values)
        work.sources.update(self._sums["sources"].values)
        work.certificates.update(self._sums["certificates"].values)
        for key in self._telling:
            work.problems.extend(self._parts[key].problems)


def _content(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def _same(before: tuple[object, ...], now: tuple[object, ...]) -> bool:
    if len(before) != len(now):
        return False
    return all(a is b or (isinstance(a, str | bool) and a == b) for a, b in zip(before, now, strict=True))


def _current(seen: Iterable[Seen], work: draft.Draft) -> bool:
    collections = {"Service": work.services, "Secret": work.secrets, "ConfigMap": work.config_maps}
    return all(collections[kind].get(key) is found for kind, key, found in seen)


def _made(work: draft.Draft, inputs: tuple[object, ...], make: Callable[[draft.Draft], None]) -> Part:
    seen: list[Seen] = []
    own = draft.below(
        work,
        services=Tracked("Service", work.services, seen),
        secrets=Tracked("Secret", work.secrets, seen),
        config_maps=Tracked("ConfigMap", work.config_maps, seen),
    )
    make(own)
    return Part(
        inputs=inputs,
        seen=tuple({(kind, key): (kind, key, found) for kind, key, found in seen}.values()),
        routes=own.routes,
        backends=own.backends.maps[0],  # type: ignore[attr-defined]
        certificates=own.certificates,
        sources=own.sources.maps[0],  # type: ignore[attr-defined]
        problems=tuple(own.problems),
        asked=own.asked,
    )
