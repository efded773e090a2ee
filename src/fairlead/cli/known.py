"""The routing table as the objects of a running cluster make it: by the same pure functions, with the same settings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fairlead.api import kinds
from fairlead.client import protocol
from fairlead.cluster import edge_certificate, place, state
from fairlead.routing import settings, table, translate

Object = dict[str, Any]
_KINDS = (
    kinds.SERVICE,
    kinds.INGRESS,
    kinds.INGRESS_CLASS,
    kinds.SECRET,
    kinds.BACKEND_POLICY,
    kinds.ENDPOINT_SLICE,
    kinds.NODE,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What was read, and what follows from it."""

    snapshot: translate.Snapshot
    translation: translate.Translation
    slices: list[Object]

    @property
    def carried(self) -> set[str]:
        """The Ingresses (namespace/name) that are ours to carry."""
        return {f"{one.namespace}/{one.name}" for one in self.translation.statuses if one.kind == "Ingress"}


async def read(client: protocol.Client, folder: state.StateFolder, record: state.Record | None = None) -> Known:
    """Reads everything at once and translates it, as the folder's own record says or another one."""
    record = record or folder.read()
    wanted = (*_KINDS, kinds.CONFIG_MAP) if record.ingress_nginx else _KINDS
    services, ingresses, classes, secrets, policies, slices, nodes, *maps = [
        page.items for page in await asyncio.gather(*(client.list(kind) for kind in wanted))
    ]
    snapshot = translate.Snapshot(
        services=services,
        ingresses=ingresses,
        ingress_classes=classes,
        secrets=secrets,
        config_maps=maps[0] if maps else (),
        backend_policies=policies,
    )
    return Known(snapshot, translate.translate(snapshot, _where(record, folder, nodes)), slices)


def _where(record: state.Record, folder: state.StateFolder, nodes: list[Object]) -> settings.Settings:
    labels = next(
        (one["metadata"].get("labels") or {} for one in nodes if one["metadata"]["name"] == place.NODE_NAME), {}
    )
    return place.settings_of(record, labels, certificate=_certificate(folder))


def _certificate(folder: state.StateFolder) -> table.Certificate | None:
    """That of https at hosts whose Ingress brings none: without it those hosts had no https at all."""
    try:
        return edge_certificate.read(folder.pki)
    except OSError:
        return None
