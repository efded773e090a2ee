"""What the engine should have and what it has: the difference is what goes over the wire.

Pure. Each object is encoded once when it changes; its bytes are what is sent and what is hashed. `learn` takes what the
engine says it has (after a reconnection), `took` what was just sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairlead.dataplane import wire
from fairlead.routing import table

ENDPOINTS = "endpoints"
PROBES = "probes"


@dataclass(frozen=True, slots=True)
class Coded:
    """An object with its JSON and hash."""

    thing: Any
    encoded: bytes
    hash: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What the engine lacks (by section, id) and what it should lose."""

    changed: Mapping[str, Mapping[str, Coded]] = field(default_factory=dict)
    removed: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


class Ledger:
    """One engine's books."""

    def __init__(self) -> None:
        self.wanted: dict[str, dict[str, Coded]] = {section: {} for section in (*wire.SECTIONS, ENDPOINTS, PROBES)}
        self._given: dict[str, dict[str, Any]] = {section: {} for section in wire.SECTIONS}  # last, to compare with
        self._known: dict[str, dict[str, str]] = {section: {} for section in self.wanted}
        self._dirty: dict[str, set[str]] = {section: set() for section in self.wanted}

    def want_structure(self, structure: table.Structure) -> None:
        """Replaces the wanted structure; only what differs is encoded."""
        for section in wire.SECTIONS:
            self._want(section, getattr(structure, section))
        for backend in self.wanted[ENDPOINTS].keys() - self.wanted["backends"].keys():
            self._dirty[ENDPOINTS].discard(backend)

    def want_endpoints(self, delta: Iterable[table.BackendEndpoints]) -> None:
        """Replaces the endpoints of the Backends named."""
        for one in delta:
            known = self.wanted[ENDPOINTS].get(one.backend)
            if known is None or known.thing != one.endpoints:
                self._put(ENDPOINTS, one.backend, one.endpoints)

    def forget_endpoints(self, backends: Iterable[str]) -> None:
        """The Backends are gone for good."""
        for backend in backends:
            self.wanted[ENDPOINTS].pop(backend, None)
            self._known[ENDPOINTS].pop(backend, None)

    def want_probe(self, name: str, probe: msgspec.Struct | None) -> None:
        """Adds or (None) removes a probe."""
        if probe is not None:
            self._put(PROBES, name, probe)
        elif self.wanted[PROBES].pop(name, None) is not None:
            self._dirty[PROBES].add(name)

    def learn(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        """The engine (again) says what it has: everything else is missing there."""
        for section, wanted in self.wanted.items():
            self._known[section] = dict(hashes.get(section) or {})
            self._dirty[section] = wanted.keys() | self._known[section].keys()

    def structure_difference(self) -> Difference:
        """What a `structure` message has to say."""
        return self._difference(wire.SECTIONS)

    def endpoints_difference(self) -> Difference:
        """What an `endpoints` message has to say, of Backends that are wanted."""
        found = self._difference((ENDPOINTS,))
        wanted = self.wanted["backends"]
        kept = {name: one for name, one in found.changed.get(ENDPOINTS, {}).items() if name in wanted}
        return Difference({ENDPOINTS: kept} if kept else {})

    def probes_difference(self) -> Difference:
        """What a `probes` message has to say."""
        return self._difference((PROBES,))

    def took(self, difference: Difference) -> None:
        """The difference is on its way; an engine that loses it says so in its next `welcome`."""
        for section, changed in difference.changed.items():
            for name, one in changed.items():
                self._known[section][name] = one.hash
            self._dirty[section] -= changed.keys()
        for section, removed in difference.removed.items():
            for name in removed:
                self._known[section].pop(name, None)
                if section == "backends":
                    self._known[ENDPOINTS].pop(name, None)
                    if name in self.wanted[ENDPOINTS]:
                        self._dirty[ENDPOINTS].add(name)
            self._dirty[section] -= set(removed)

    def _want(self, section: str, things: Mapping[str, Any]) -> None:
        wanted = self.wanted[section]
        for name in wanted.keys() - things.keys():
            del wanted[name]
            self._dirty[section].add(name)
        before, self._given[section] = self._given[section], dict(things)
        for name in [name for name, thing in things.items() if before.get(name) is not thing]:
            thing, known = things[name], wanted.get(name)
            if known is None or (known.thing is not thing and known.thing != thing):
                self._put(section, name, thing)
                if section == "backends" and known is None and name in self.wanted[ENDPOINTS]:
                    self._dirty[ENDPOINTS].add(name)

    def _put(self, section: str, name: str, thing: Any) -> None:
        encoded = wire.encode_object(thing)
        self.wanted[section][name] = Coded(thing, encoded, wire.hash_of(encoded))
        self._dirty[section].add(name)

    def _difference(self, sections: Iterable[str]) -> Difference:
        changed: dict[str, dict[str, Coded]] = {}
        removed: dict[str, list[str]] = {}
        for section in sections:
            wanted, known = self.wanted[section], self._known[section]
            for name in sorted(self._dirty[section]):
                one = wanted.get(name)
                if one is None and name in known:
                    removed.setdefault(section, []).append(name)
                elif one is not None and known.get(name) != one.hash:
                    changed.setdefault(section, {})[name] = one
        return Difference(changed, removed)
