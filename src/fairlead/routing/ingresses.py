"""Ingresses to Routes of the edge (networking.k8s.io/v1 Ingress, IngressClass; KEP-1453).

Exact comes before Prefix, the longest path first, prefixes by path element, an exact host before a one-label wildcard
before none, `defaultBackend` last. Where two Ingresses claim the same host and path, the oldest has it and the other is
told. One bad path never hurts another. `fairlead.dev/*` annotations are a policy of this Ingress alone, on top of its
Services'; canary Ingresses share the requests of an equal path by weight, header or cookie. Annotations of other
controllers are named in a Problem: silence would be a lie.

Each host is a part of its own: it is translated again when one of its Ingresses, or what they refer to, has changed.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

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
    _hosts: dict[parts.Key, list[ingress_records.Record]] = field(default_factory=dict)  # oldest first
    _tls: list[ingress_records.Record] = field(default_factory=list)
    _shared: tuple[object, ...] = ()  # what every host depends on

    def __post_init__(self) -> None:
        self.records = ingress_records.Records(self.where)

    def process(self, work: draft.Draft) -> None:
        """Adds all Ingresses that are ours, their certificates and the edge's doors."""
        change = self.records.of(work.snapshot.ingresses, work.snapshot.ingress_classes)
        stale = self.memory.begin(work)
        for record in self.records.telling.values():
            work.problems.extend(record.problems)
        work.statuses.extend([one.status for one in self.records.every if one.status is not None])
        http = self.controller.read(work) if self.where.ingress_nginx else table.HttpSettings()
        http = msgspec.structs.replace(http, access_log=self.where.access_log)
        used = self._certificates(work, change, stale)
        work.https = bool(used) or work.settings.default_certificate is not None
        self._translate_hosts(work, [*stale, *self._regroup(change)])
        self.memory.add_to(work)
        _add_doors(work, used, http)

    def _certificates(
        self, work: draft.Draft, change: ingress_records.Change, stale: Sequence[parts.Key]
    ) -> tuple[str, ...]:
        """The ids of the certificates of all Ingresses, the oldest one's first."""
        for record in change.gone:
            self.memory.drop(("tls", record.key))
        if any(record.spec.get("tls") for record in (*change.gone, *change.come)):
            self._tls = [one for one in self.records.every if one.whose and one.spec.get("tls")]
        looked = {key for key in stale if key[0] == "tls"}
        used: dict[str, None] = {}
        for record in self._tls:
            key = ("tls", record.key)
            part = self.memory.get(key)
            if part is None or key in looked:
                make = functools.partial(certificates.add, ingress=record.ingress)
                part = self.memory.part(work, key, (record,), make)
            used.update(dict.fromkeys(part.certificates))
        return tuple(used)

    def _regroup(self, change: ingress_records.Change) -> list[parts.Key]:
        """Files the records by host; returns the hosts that a change concerns."""
        touched: dict[parts.Key, None] = {}
        for record in change.gone:
            for key in _keys(record):
                self._hosts[key] = [one for one in self._hosts[key] if one is not record]
                touched[key] = None
        for record in change.come:
            for key in _keys(record):
                bisect.insort(self._hosts.setdefault(key, []), record, key=ingress_records.age)
                touched[key] = None
        return list(touched)

    def _translate_hosts(self, work: draft.Draft, touched: list[parts.Key]) -> None:
        if self.where.ingress_nginx and (self.records.asking or self.controller.has_names):
            every = [one.parsed for one in self.records.every if one.whose == "nginx"]
            before = self.controller.begin(work, every)
            touched += [key for key in self._hosts if key[0] == "nginx" and before(key[1])]
        shared = (work.https, self.controller.config)
        if any(a is not b for a, b in zip(shared, self._shared, strict=False)) or not self._shared:
            touched, self._shared = list(self._hosts), shared
        for key in dict.fromkeys(touched):
            self._translate(work, key)

    def _translate(self, work: draft.Draft, key: parts.Key) -> None:
        kind, host = key
        if kind == "tls":
            return
        those = self._hosts.get(key)
        if not those:
            self._hosts.pop(key, None)
            self.memory.drop(key)
            return
        if kind == "nginx":
            make = functools.partial(self.controller.translate, host=host, sources=[one.parsed for one in those])
            inputs: tuple[object, ...] = (*those, work.https, self.controller.config, *self.controller.names(host))
        else:
            make, inputs = functools.partial(ingress_hosts.translate, host=host, records=those), (*those, work.https)
        self.memory.part(work, key, inputs, make)


def _keys(record: ingress_records.Record) -> list[parts.Key]:
    kind = {"ours": "host", "nginx": "nginx"}.get(record.whose, "")
    return [(kind, host) for host in record.hosts] if kind else []


def _add_doors(work: draft.Draft, used: tuple[str, ...], http: table.HttpSettings) -> None:
    work.listeners[EDGE_HTTP] = table.Listener(
        id=EDGE_HTTP, protocol="http", sockets=work.settings.edge_http, http=http
    )
    default = work.settings.default_certificate
    if default is not None:
        work.certificates[default.id] = default
        used = (default.id, *used)
    if used:
        work.listeners[EDGE_HTTPS] = table.Listener(
            id=EDGE_HTTPS,
            protocol="https",
            sockets=work.settings.edge_https,
            certificates=used,
            http=http,
        )
