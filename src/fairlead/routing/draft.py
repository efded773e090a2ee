"""The table while it is being translated: each processor adds its part, `translate` freezes the sum."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import attachments, endpoints, settings, table

Object = dict[str, Any]
#: gives a socket to an owner unless somebody has it; returns who has it
Claim = Callable[[str, str], str]
#: a Service as namespace/name, the port that is wanted, whether by TLS
Asked = tuple[str, object, bool]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects that a translation reads, as an informer holds them. Unknown fields are welcome."""

    services: Sequence[Object] = ()
    endpoint_slices: Sequence[Object] = ()
    ingresses: Sequence[Object] = ()
    ingress_classes: Sequence[Object] = ()
    secrets: Sequence[Object] = ()
    config_maps: Sequence[Object] = ()
    backend_policies: Sequence[Object] = ()
    refused: Sequence[str] = ()  # Listeners that no plane could open


@dataclass(frozen=True, slots=True)
class Status:
    """The `status` fields that a translation wants an object to have."""

    kind: str
    namespace: str
    name: str
    status: Mapping[str, Any]


@dataclass
class Draft:
    """What the processors have made so far. Only they write to it."""

    snapshot: Snapshot
    settings: settings.Settings
    listeners: dict[str, table.Listener] = field(default_factory=dict)
    routes: dict[str, table.Route] = field(default_factory=dict)
    backends: MutableMapping[str, table.Backend] = field(default_factory=dict)
    certificates: dict[str, table.Certificate] = field(default_factory=dict)
    names: dict[str, table.Name] = field(default_factory=dict)
    sources: MutableMapping[str, endpoints.Source] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    services: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    config_maps: Mapping[str, Object] = field(default_factory=dict)
    attached: attachments.Attached = field(default_factory=attachments.Attached)
    claim: Claim = field(default_factory=lambda: dict[str, str]().setdefault)
    borrow: Claim = field(default_factory=lambda: dict[str, str]().setdefault)  # as `claim`; any claim goes before it
    asked: dict[Asked, object] = field(default_factory=dict)  # what references led to, for who keeps parts
    https: bool = False  # whether the edge has an https door

    def problem(self, obj: str, path: str, reason: str, message: str) -> None:
        """Records a user's mistake; the translation goes on."""
        self.problems.append(Problem(obj, path, reason, message))


def by_key(objects: Sequence[Object]) -> dict[str, Object]:
    """Objects by `namespace/name`."""
    return {key(one): one for one in objects}


def continued(before: Draft, snapshot: Snapshot) -> Draft:
    """A draft with all of another one, which stays as it is."""
    return replace(
        before,
        snapshot=snapshot,
        listeners=dict(before.listeners),
        routes=dict(before.routes),
        backends=dict(before.backends),
        certificates=dict(before.certificates),
        names=dict(before.names),
        sources=dict(before.sources),
        statuses=list(before.statuses),
        problems=list(before.problems),
        secrets=by_key(snapshot.secrets),
        config_maps=by_key(snapshot.config_maps),
    )


def below(
    work: Draft,
    *,
    services: Mapping[str, Object],
    secrets: Mapping[str, Object],
    config_maps: Mapping[str, Object],
) -> Draft:
    """An empty draft that sees another one's Backends; what it adds is its own."""
    return Draft(
        snapshot=work.snapshot,
        settings=work.settings,
        backends=collections.ChainMap({}, work.backends),
        sources=collections.ChainMap({}, work.sources),
        attached=work.attached,
        https=work.https,
        services=services,
        secrets=secrets,
        config_maps=config_maps,
    )


def key(obj: Object) -> str:
    """`namespace/name`."""
    meta = obj["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def age(obj: Object) -> tuple[str, str]:
    """Sorts objects oldest first, then by name, as Kubernetes settles conflicts."""
    return (str(obj["metadata"].get("creationTimestamp") or "~"), key(obj))
