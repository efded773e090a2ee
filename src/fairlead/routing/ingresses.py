"""Ingresses to Routes of the edge (networking.k8s.io/v1 Ingress, IngressClass; KEP-1453).

Exact comes before Prefix, the longest path first, prefixes by path element, an exact host before a one-label wildcard
before none, `defaultBackend` last. Where two Ingresses claim the same host and path, the oldest has it and the other is
told. One bad path never hurts another. `fairlead.dev/*` annotations are a policy of this Ingress alone, on top of its
Services'; canary Ingresses share the requests of an equal path by weight, header or cookie. Annotations of other
controllers are named in a Problem: silence would be a lie.

Each host is a part of its own: it is translated again when one of its Ingresses, or what they refer to, has changed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from fairlead.routing import certificates, draft, ingress_hosts, ingress_records, parts, settings, table
from fairlead.routing.ingress_nginx import process as nginx

EDGE_HTTP, EDGE_HTTPS = ingress_hosts.HTTP, ingress_hosts.HTTPS


@dataclass
class Edge:
    """Translates Ingresses again and again; the parts that did not change are the very same objects."""

    where: settings.Settings
    memory: parts.Memory = field(default_factory=parts.Memory)
    controller: nginx.Controller = field(default_factory=nginx.Controller)
    records: ingress_records.Records = field(init=False)

    def __post_init__(self) -> None:
        self.records = ingress_records.Records(self.where)

    def process(self, work: draft.Draft) -> None:
        """Adds all Ingresses that are ours, their certificates and the edge's doors."""
        every = self.records.of(work.snapshot.ingresses, work.snapshot.ingress_classes)
        self.memory.begin(work)
        for record in every:
            work.problems.extend(record.problems)
            if record.status is not None:
                work.statuses.append(record.status)
        http = self.controller.read(work) if self.where.ingress_nginx else table.HttpSettings()
        _add_doors(
            work, self._add_certificates(work, [one for one in every if one.whose and one.spec.get("tls")]), http
        )
        self._add_hosts(work, [record for record in every if record.whose == "ours"])
        if self.where.ingress_nginx:
            self._add_nginx(work, [record for record in every if record.whose == "nginx"])
        self.memory.end()

    def _add_certificates(self, work: draft.Draft, records: list[ingress_records.Record]) -> tuple[str, ...]:
        used: dict[str, None] = {}
        for record in records:
            make = functools.partial(certificates.add, ingress=record.ingress)
            made = self.memory.part(work, ("tls", record.key), (record,), make)
            made.add_to(work)
            used.update(dict.fromkeys(made.certificates))
        return tuple(used)

    def _add_hosts(self, work: draft.Draft, records: list[ingress_records.Record]) -> None:
        for host, those in _by_host(records).items():
            make = functools.partial(ingress_hosts.translate, host=host, records=those)
            self.memory.part(work, ("host", host), (*those, work.https), make).add_to(work)

    def _add_nginx(self, work: draft.Draft, records: list[ingress_records.Record]) -> None:
        self.controller.begin(work, [record.parsed for record in records])
        for host, those in _by_host(records).items():
            make = functools.partial(self.controller.translate, host=host, sources=[one.parsed for one in those])
            inputs = (*those, work.https, self.controller.config, *self.controller.names(host))
            self.memory.part(work, ("nginx", host), inputs, make).add_to(work)


def _by_host(records: list[ingress_records.Record]) -> dict[str, list[ingress_records.Record]]:
    by_host: dict[str, list[ingress_records.Record]] = {}
    for record in records:
        for host in record.hosts:
            by_host.setdefault(host, []).append(record)
    return by_host


def _add_doors(work: draft.Draft, used: tuple[str, ...], http: table.HttpSettings) -> None:
    work.listeners[EDGE_HTTP] = table.Listener(
        id=EDGE_HTTP, protocol="http", sockets=work.settings.edge_http, http=http
    )
    default = work.settings.default_certificate
    if default is not None:
        work.certificates[default.id] = default
        used = (default.id, *used)
    work.https = bool(used)
    if used:
        work.listeners[EDGE_HTTPS] = table.Listener(
            id=EDGE_HTTPS,
            protocol="https",
            sockets=work.settings.edge_https,
            certificates=used,
            http=http,
        )
