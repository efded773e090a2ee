"""Parts of a translation that are made again only when something that they read has changed.

A part has a key, inputs (compared by identity, words by equality) and what it looked up while it was made: Services,
Secrets and ConfigMaps by name. While all of these are the same objects, its outcome is the same, and so are the very
objects of the table, which planes need not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import attachments, draft, endpoints, table

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

    def add_to(self, work: draft.Draft) -> None:
        """Adds its outcome."""
        work.routes.update(self.routes)
        work.backends.update(self.backends)
        work.sources.update(self.sources)
        if self.certificates:
            work.certificates.update(self.certificates)
        if self.problems:
            work.problems.extend(self.problems)


@dataclass
class Memory:
    """The parts of the translation before."""

    _parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    _fresh: dict[tuple[str, str], Part] = field(default_factory=dict)
    _attached: attachments.Attached | None = None

    def begin(self, work: draft.Draft) -> None:
        """A translation begins. Policies reach into many parts: when they change, all parts are made again."""
        if self._attached is None or self._attached.fields != work.attached.fields:
            self._parts = {}
        self._attached, self._fresh = work.attached, {}

    def end(self) -> None:
        """Forgets parts that this translation did not ask for."""
        self._parts = self._fresh

    def part(
        self, work: draft.Draft, key: tuple[str, str], inputs: tuple[object, ...], make: Callable[[draft.Draft], None]
    ) -> Part:
        """The part as it was, or made by `make` in a draft of its own."""
        known = self._parts.get(key)
        if known is None or not _same(known.inputs, inputs) or not _current(known.seen, work):
            known = _made(work, inputs, make)
        self._fresh[key] = known
        return known


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
    )
