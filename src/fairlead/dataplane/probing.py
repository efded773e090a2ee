"""Probes that the engine runs for the node agent: who wants which, and who is told of a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fairlead.dataplane import ledger, wire


class Spec(Protocol):
    """What the node agent says of a probe (its `ProbeSpec`); the fields are docs/protocol.md's Probe."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def service(self) -> str: ...
    @property
    def initial_delay_seconds(self) -> float: ...
    @property
    def period_seconds(self) -> float: ...
    @property
    def timeout_seconds(self) -> float: ...
    @property
    def success_threshold(self) -> int: ...
    @property
    def failure_threshold(self) -> int: ...
    @property
    def fast_start(self) -> bool: ...


class Probes:
    """The probes wanted now. A result of a probe that is wanted no more is dropped."""

    def __init__(self, books: ledger.Ledger) -> None:
        self._books = books
        self._told: dict[str, Callable[[bool, str], None]] = {}

    def watch(self, spec: Spec, on_result: Callable[[bool, str], None]) -> None:
        self._told[spec.id] = on_result
        fields = {name: getattr(spec, name) for name in wire.Probe.__struct_fields__}
        self._books.want_probe(spec.id, wire.Probe(**fields))

    def forget(self, probe_id: str) -> None:
        self._told.pop(probe_id, None)
        self._books.want_probe(probe_id, None)

    def take(self, result: wire.ProbeResult) -> None:
        tell = self._told.get(result.id)
        if tell is not None:
            tell(result.ok, result.message)
