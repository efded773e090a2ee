"""The Ingresses of our own class at one host: its paths, its canaries. What one host gets depends on no other host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fairlead.routing import draft, ingress_records, policy, references, table
from fairlead.routing.ingress_nginx import canaries

Object = dict[str, Any]
HTTP, HTTPS = "edge-http", "edge-https"


def translate(work: draft.Draft, host: str, records: Sequence[ingress_records.Record]) -> None:
    """Adds the Routes of the host, from its Ingresses, oldest first."""
    one = _Host(work, host)
    for record in records:
        if not record.parsed.asked:
            one.add(record)
    for record in records:
        if record.parsed.asked:
            one.add_canary(record)


class _Host:
    """One host; "" is every host."""

    def __init__(self, work: draft.Draft, host: str) -> None:
        self.work, self.host = work, host
        self.references = references.References(work)
        self.claims: dict[tuple[str, str], str] = {}  # type and path -> the Route's id
        self.joined: set[str] = set()  # Routes that have their canary

    def add(self, record: ingress_records.Record) -> None:
        if not self.host and record.spec.get("defaultBackend"):
            self._add_route(record, "default", None, record.spec["defaultBackend"], "spec.defaultBackend")
        for number, match, backend, place in self._paths(record):
            self._add_route(record, number, match, backend, place)

    def _paths(self, record: ingress_records.Record) -> Iterator[tuple[str, table.PathMatch, Object, str]]:
        for index, rule in enumerate(record.spec.get("rules") or ()):
            if str(rule.get("host") or "").lower() != self.host:
                continue
            for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
                place = f"spec.rules[{index}].http.paths[{number}]"
                match = self._path(record, path, place)
                if match is not None:
                    yield f"{index}/{number}", match, path.get("backend") or {}, place + ".backend"

    def _path(self, record: ingress_records.Record, path: Object, place: str) -> table.PathMatch | None:
        value, kind = str(path.get("path") or "/"), path.get("pathType") or "ImplementationSpecific"
        if not value.startswith("/"):
            self.work.problem(record.object, f"{place}.path", "InvalidPath", f"{value!r} must begin with /")
            return None
        if kind == "Exact":
            return table.PathMatch(type="exact", value=value)
        return table.PathMatch(type="prefix", value=value.rstrip("/") or "/")

    def _add_route(
        self, record: ingress_records.Record, rule: str, path: table.PathMatch | None, backend: Object, place: str
    ) -> None:
        claim = (path.type, path.value) if path else ("default", "")
        route = f"{record.object}/{rule}"
        owner = self.claims.setdefault(claim, route)
        if owner != route:
            what = f"{self.host or 'every host'}{path.value}" if path else "the default backend"
            older = self.work.routes[owner].info.object
            self.work.problem(record.object, place, "Conflict", f"{what} already belongs to {older}, which is older")
            return
        target = self._backend(record, backend, place)
        default = self.work.settings.default_certificate is not None
        tls = self.work.https and (default or bool(record.spec.get("tls")))
        self.work.routes[route] = table.Route(
            id=route,
            listeners=(HTTP, HTTPS) if tls else (HTTP,),
            hosts=(self.host,) if self.host else (),
            match=table.Match(path=path) if path else table.Match(),
            order=record.order * canaries.STRIDE,
            backends=(table.WeightedBackend(backend=target),) if target else (),
            respond=None if target else table.Respond(status=503, body=f"{record.object} {place}: no such backend\n"),
            info=table.Info(object=record.object, rule=place.removesuffix(".backend")),
        )

    def add_canary(self, record: ingress_records.Record) -> None:
        """Joins each path to the equal one of a main Ingress, which then shares its requests."""
        for _, path, backend, place in self._paths(record):
            main = self.work.routes.get(self.claims.get((path.type, path.value), ""))
            if main is None or main.id in self.joined:
                what = "has a canary already" if main else "belongs to no Ingress that is no canary"
                name = f"{self.host or 'every host'}{path.value}"
                self.work.problem(record.object, place, "NoMainIngress", f"{name} {what}")
                continue
            target = self._backend(record, backend, place)
            if not target or not main.backends:
                continue
            self.joined.add(main.id)
            shared = canaries.splits(main.match, record.parsed.words, main=main.backends[0].backend, canary=target)
            for suffix, match, shares in shared:
                self.work.routes[main.id + suffix] = msgspec.structs.replace(
                    main, id=main.id + suffix, match=match, backends=shares, order=main.order + canaries.place(suffix)
                )

    def _backend(self, record: ingress_records.Record, backend: Object, place: str) -> str:
        """The Backend's id; "" and a Problem when the reference leads nowhere."""
        try:
            base = self.references.ingress(backend, record.namespace)
            return self.references.variant(base, record.name, self._policy(record, backend))
        except references.NoBackend as error:
            self.work.problem(record.object, place + error.below, error.reason, str(error))
            return ""

    def _policy(self, record: ingress_records.Record, backend: Object) -> Object:
        """The Backend's fields by the Ingress's annotations on top of its Service's; none where it has none."""
        attached = self.work.attached.of("Ingress", record.namespace, record.name)
        if record.parsed.only:
            return attached
        service = self.work.services[f"{record.namespace}/{backend['service']['name']}"]
        under = service["metadata"].get("annotations") or {}
        return {**attached, **policy.parse({**under, **record.annotations}, obj=record.object)[0]}
