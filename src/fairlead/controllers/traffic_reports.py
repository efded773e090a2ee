"""What a translation and the planes say is wrong, each told once while it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from fairlead.api.problem import Problem
from fairlead.routing import table, translate


class Nack(Protocol):
    """An object of the table (`listener/ID`, `route/ID`, `backend/ID`, …) that a plane did not take, and why."""

    @property
    def object(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def message(self) -> str: ...


class Reports:
    """Remembers what has been told. `wanted` is set when there is something new to report on."""

    def __init__(self) -> None:
        self.problems: tuple[Problem, ...] = ()
        self.wanted = asyncio.Event()

    def take(self, translation: translate.Translation, nacks: Iterable[Nack]) -> list[Problem]:
        """All problems there are now; returns those that are new."""
        refused = [_problem(translation.structure, nack) for nack in nacks]
        now = tuple(dict.fromkeys((*translation.problems, *refused)))
        told = set(self.problems)
        fresh = [problem for problem in now if problem not in told]
        self.problems = now
        return fresh


def _problem(structure: table.Structure, nack: Nack) -> Problem:
    kind, _, name = nack.object.partition("/")
    info = _info(structure, kind, name)
    path = info.rule if info.rule else nack.path
    closed = "; it answers 503 until this is mended" if kind == "route" else ""
    return Problem(info.object or nack.object, path, "NotProgrammed", nack.message + closed)


def _info(structure: table.Structure, kind: str, name: str) -> table.Info:
    """The Kubernetes object that the table's object comes from."""
    if kind == "route" and name in structure.routes:
        return structure.routes[name].info
    if kind == "listener" and name in structure.listeners:
        name = structure.listeners[name].backend or _routed(structure, name)
    if name in structure.backends:
        return structure.backends[name].info
    return table.Info()


def _routed(structure: table.Structure, listener: str) -> str:
    """The only Backend behind an L7 Listener of a Service; "" for the edge, which is nobody's object."""
    if not listener.startswith("service/"):
        return ""
    route = structure.routes.get(listener.replace("service/", "Service/", 1))
    return route.backends[0].backend if route and route.backends else ""
