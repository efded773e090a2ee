"""From Kubernetes objects to the routing table: pure, total, and one bad object never hurts another.

An ordered list of processors, one per API, adds to a draft. Endpoints bypass it: `Translation.endpoints_of` answers for
one Service in microseconds, so that a change of an EndpointSlice never needs a new translation.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import (
    backend_policy,
    draft,
    endpoints,
    ingresses,
    service_parts,
    settings,
    table,
)
from fairlead.routing.draft import Snapshot, Status

__all__ = ["Snapshot", "Status", "Translation", "Translator", "translate"]

SERVICE_NAME = "kubernetes.io/service-name"
EVERYTHING = 1 << 30  # parts that an IngressClass, a BackendPolicy or the controller's ConfigMap may reach


@dataclass(frozen=True)
class Translation:
    """The routing table, what objects are to say of it, and what is wrong with them."""

    settings: settings.Settings
    structure: table.Structure
    statuses: tuple[Status, ...]
    problems: tuple[Problem, ...]
    sources: Mapping[str, tuple[endpoints.Source, ...]] = field(default_factory=dict)  # by Service, namespace/name

    def endpoints_of(self, service: str, slices: Iterable[dict[str, Any]]) -> list[table.BackendEndpoints]:
        """The endpoints of all Backends of one Service (namespace/name), from all of its slices."""
        found: list[table.BackendEndpoints] = []
        here = endpoints.Here(self.settings.node, self.settings.zone)
        kept = list(slices)
        made: dict[tuple[object, ...], table.BackendEndpoints] = {}  # many Backends may have the same endpoints
        for source in self.sources.get(service, ()):
            if source.choice not in made:
                made[source.choice] = endpoints.backend_endpoints(source, kept, here=here)
            found.append(table.BackendEndpoints(backend=source.backend, endpoints=made[source.choice].endpoints))
        return found


class Translator:
    """Translates snapshot after snapshot, each as if it were the first; what did not change is not made again.

    The outcome is that of `translate`, and objects of the table that are equal to those before are the very same.
    """

    def __init__(self, where: settings.Settings) -> None:
        self._where = where
        self._edge = ingresses.Edge(where)
        self._read: tuple[Sequence[Any], ...] = ()
        self._parts = service_parts.Parts(where)
        self._services = draft.Draft(Snapshot(), where)

    def extent(self, changed: Iterable[tuple[str, str]]) -> int:
        """About how many parts of the table are made again when these objects (kind, namespace/name) have changed."""
        return sum(self._concerned(kind, key) for kind, key in changed) if self._read else EVERYTHING

    def _concerned(self, kind: str, key: str) -> int:
        own = kind in ("Ingress", "Service", "Secret", "ConfigMap") and key != self._where.ingress_nginx_config
        return 1 + self._edge.memory.readers(kind, key) if own else EVERYTHING

    def translate(self, snapshot: Snapshot) -> Translation:
        """The table of all objects in the snapshot. Never raises for what a user wrote."""
        self._translate_services(snapshot)
        work = draft.continued(self._services, snapshot)
        self._edge.process(work)
        structure = table.Structure(
            listeners=work.listeners,
            routes=work.routes,
            backends=dict(work.backends),
            certificates=work.certificates,
            names=work.names,
        )
        more: dict[str, list[endpoints.Source]] = {}
        for name, source in work.sources.items():
            if name not in self._services.sources:
                more.setdefault(source.service, []).append(source)
        by_service = self._parts.by_service
        sources = {**by_service, **{name: (*by_service.get(name, ()), *those) for name, those in more.items()}}
        return Translation(self._where, structure, tuple(work.statuses), tuple(work.problems), sources)

    def _translate_services(self, snapshot: Snapshot) -> None:
        """What does not depend on Ingresses, except that a policy may be for one."""
        policies = snapshot.backend_policies
        read = (snapshot.services, policies, snapshot.ingresses if policies else (), snapshot.refused)
        if self._read and all(map(_identical, read, self._read)):
            return
        work = draft.Draft(snapshot, self._where)
        backend_policy.process(work)
        self._parts.update(work)
        self._parts.add_to(work)
        self._read, self._services = tuple(map(tuple, read)), work


def _identical(now: Sequence[Any], before: Sequence[Any]) -> bool:
    return len(now) == len(before) and all(map(operator.is_, now, before))


def translate(snapshot: Snapshot, where: settings.Settings) -> Translation:
    """The table of all objects in the snapshot. Never raises for what a user wrote."""
    return Translator(where).translate(snapshot)


def service_of(endpoint_slice: dict[str, Any]) -> str:
    """The Service (namespace/name) that a slice belongs to; "" when its label names none."""
    meta = endpoint_slice["metadata"]
    name = (meta.get("labels") or {}).get(SERVICE_NAME, "")
    return f"{meta.get('namespace', '')}/{name}" if name else ""


def group_slices(slices: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Slices by Service."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in slices:
        groups.setdefault(service_of(one), []).append(one)
    groups.pop("", None)
    return groups


def all_endpoints(translation: Translation, slices: Iterable[dict[str, Any]]) -> list[table.BackendEndpoints]:
    """The endpoints of every Backend of the table; Backends without slices have none."""
    groups = group_slices(slices)
    return [
        one for service in translation.sources for one in translation.endpoints_of(service, groups.get(service, ()))
    ]
