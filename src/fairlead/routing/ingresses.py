"""Ingresses to Routes of the edge (networking.k8s.io/v1 Ingress, IngressClass; KEP-1453).

Exact comes before Prefix, the longest path first, prefixes by path element, an exact host before a one-label wildcard
before none, `defaultBackend` last. Where two Ingresses claim the same host and path, the oldest has it and the other is
told. One bad path never hurts another. `fairlead.dev/*` annotations are a policy of this Ingress alone, on top of its
Services'; canary Ingresses share the requests of an equal path by weight, header or cookie. Annotations of other
controllers are named in a Problem: silence would be a lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead.routing import certificates, draft, hosts, ingress_shape, policy, references, table
from fairlead.routing.ingress_nginx import canaries
from fairlead.routing.ingress_nginx import catalogue as nginx_catalogue
from fairlead.routing.ingress_nginx import process as nginx

Object = dict[str, Any]
EDGE_HTTP = "edge-http"
EDGE_HTTPS = "edge-https"
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_FOREIGN = ("nginx.ingress.kubernetes.io/", "haproxy.org/", "traefik.ingress.kubernetes.io/")


def process(work: draft.Draft) -> None:
    """Adds all Ingresses that are ours."""
    edge = _Edge(work)
    classes = _Classes(work)
    sorted_ones = [(classes.of(one), one) for one in sorted(_sound(work), key=draft.age)]
    secrets = certificates.Secrets(work)
    for order, (whose, ingress) in enumerate(sorted_ones):
        if whose == "ours":
            _Translator(edge, ingress, order).add()
        if whose:
            secrets.add(ingress)
            _publish(work, ingress)
    for canary in edge.canaries:
        canary.add_canary()
    if work.settings.ingress_nginx:
        nginx.process(work, [(order, one) for order, (whose, one) in enumerate(sorted_ones) if whose == "nginx"])
    _add_doors(work, secrets.used)


def _sound(work: draft.Draft) -> list[Object]:
    sound = []
    for ingress in work.snapshot.ingresses:
        place, mistake = ingress_shape.mistake(ingress)
        if mistake:
            work.problem(f"Ingress/{draft.key(ingress)}", place, "Invalid", mistake)
        else:
            sound.append(ingress)
    return sound


def _add_doors(work: draft.Draft, used: tuple[str, ...]) -> None:
    work.listeners[EDGE_HTTP] = table.Listener(
        id=EDGE_HTTP, protocol="http", sockets=work.settings.edge_http, http=table.HttpSettings()
    )
    default = work.settings.default_certificate
    if default is not None:
        work.certificates[default.id] = default
        used = (default.id, *used)
    if not used:
        for name, route in list(work.routes.items()):
            if EDGE_HTTPS in route.listeners:
                kept = tuple(door for door in route.listeners if door != EDGE_HTTPS)
                if kept:
                    work.routes[name] = msgspec.structs.replace(route, listeners=kept)
                else:
                    del work.routes[name]
    else:
        work.listeners[EDGE_HTTPS] = table.Listener(
            id=EDGE_HTTPS,
            protocol="https",
            sockets=work.settings.edge_https,
            certificates=used,
            http=table.HttpSettings(),
        )


def _publish(work: draft.Draft, ingress: Object) -> None:
    doors = [int(socket.rpartition(":")[2]) for socket in work.settings.edge_http[:1]]
    ports = [{"port": port, "protocol": "TCP"} for port in doors]
    addresses = [{"ip": address, "ports": ports} for address in work.settings.edge_addresses]
    meta = ingress["metadata"]
    status = {"loadBalancer": {"ingress": addresses}}
    work.statuses.append(draft.Status("Ingress", meta.get("namespace", ""), meta["name"], status))


class _Classes:
    """Whose an Ingress is: "ours", "nginx" (ours, with the behaviour of ingress-nginx), or "" somebody else's."""

    def __init__(self, work: draft.Draft) -> None:
        self._work = work
        self._classes = {one["metadata"]["name"]: one for one in work.snapshot.ingress_classes}
        self._defaults = [
            one
            for one in self._classes.values()
            if (one["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        ]

    def of(self, ingress: Object) -> str:
        annotations = ingress["metadata"].get("annotations") or {}
        named = (ingress.get("spec") or {}).get("ingressClassName") or annotations.get("kubernetes.io/ingress.class")
        if not named:
            if not self._defaults:
                return "ours"
            return next(filter(None, (self._by_controller(one) for one in self._defaults)), "")
        if named in self._classes:
            return self._by_controller(self._classes[named])
        if named in self._work.settings.ingress_classes:
            return "ours"
        if named == nginx.CLASS and self._work.settings.ingress_nginx:
            return "nginx"
        hint = "; start with --ingress-nginx to take this class as ingress-nginx does" if named == nginx.CLASS else ""
        self._work.problem(
            f"Ingress/{draft.key(ingress)}", "spec.ingressClassName", "UnknownIngressClass",
            f"there is no IngressClass {named!r}; use {self._work.settings.ingress_classes[0]!r}, leave it out, or "
            f"create the class with controller {self._work.settings.ingress_controller}{hint}",
        )  # fmt: skip
        return ""

    def _by_controller(self, one: Object) -> str:
        controller = _controller(one)
        if controller == nginx.CONTROLLER and self._work.settings.ingress_nginx:
            return "nginx"
        return "ours" if controller == self._work.settings.ingress_controller else ""


def _controller(one: Object) -> str:
    return str((one.get("spec") or {}).get("controller") or "")


class _Edge:
    """What the Ingresses of our class share: who has which host and path, and the Backends."""

    def __init__(self, work: draft.Draft) -> None:
        self.work = work
        self.references = references.References(work)
        self.claims: dict[tuple[str, str, str], str] = {}  # host, type and path -> the Route's id
        self.joined: set[str] = set()  # Routes that have their canary
        self.canaries: list[_Translator] = []


class _Translator:
    """One Ingress."""

    def __init__(self, edge: _Edge, ingress: Object, order: int) -> None:
        self.edge, self.work = edge, edge.work
        self.spec: Object = ingress.get("spec") or {}
        self.annotations: dict[str, str] = ingress["metadata"].get("annotations") or {}
        self.key = draft.key(ingress)
        self.namespace = ingress["metadata"].get("namespace", "")
        self.object = f"Ingress/{self.key}"
        self.order = order
        self.tls = bool(self.spec.get("tls")) or self.work.settings.default_certificate is not None
        self.canary = policy.canary(self.annotations, obj=self.object)

    def add(self) -> None:
        self._name_what_is_not_honoured()
        if self.canary.asked:
            self.edge.canaries.append(self)
            return
        if self.spec.get("defaultBackend"):
            self._add_route("default", "", None, self.spec["defaultBackend"], "spec.defaultBackend")
        for number, host, match, backend, place in self._paths():
            self._add_route(number, host, match, backend, place)

    def _paths(self) -> Iterator[tuple[str, str, table.PathMatch, Object, str]]:
        for index, rule in enumerate(self.spec.get("rules") or ()):
            where = f"spec.rules[{index}]"
            host = str(rule.get("host") or "").lower()
            if wrong := hosts.mistake(host):
                self.work.problem(self.object, f"{where}.host", "InvalidHost", wrong)
                continue
            for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
                place = f"{where}.http.paths[{number}]"
                match = self._path(path, place)
                if match is not None:
                    yield f"{index}/{number}", host, match, path.get("backend") or {}, place + ".backend"

    def add_canary(self) -> None:
        """Joins each path to the equal one of a main Ingress, which then shares its requests."""
        for _, host, path, backend, place in self._paths():
            main = self.work.routes.get(self.edge.claims.get((host, path.type, path.value), ""))
            if main is None or main.id in self.edge.joined:
                what = "has a canary already" if main else "belongs to no Ingress that is no canary"
                self.work.problem(self.object, place, "NoMainIngress", f"{host or 'every host'}{path.value} {what}")
                continue
            target = self._backend(backend, place)
            if not target or not main.backends:
                continue
            self.edge.joined.add(main.id)
            words = self.canary.words
            for suffix, match, shares in canaries.splits(
                main.match, words, main=main.backends[0].backend, canary=target
            ):
                order = main.order + canaries.place(suffix)
                self.work.routes[main.id + suffix] = msgspec.structs.replace(
                    main, id=main.id + suffix, match=match, backends=shares, order=order
                )

    def _name_what_is_not_honoured(self) -> None:
        problems = [*policy.parse(self.annotations, obj=self.object)[1], *self.canary.problems]
        for prefix in _FOREIGN:
            hint = "annotations of other controllers are not translated"
            if prefix == nginx_catalogue.PREFIX:
                hint += "; class nginx with --ingress-nginx has them"
            problems += policy.unknown(self.annotations, obj=self.object, prefix=prefix, known=frozenset(), hint=hint)
        self.work.problems.extend(problems)

    def _path(self, path: Object, place: str) -> table.PathMatch | None:
        value, kind = str(path.get("path") or "/"), path.get("pathType") or "ImplementationSpecific"
        if not value.startswith("/"):
            self.work.problem(self.object, f"{place}.path", "InvalidPath", f"{value!r} must begin with /")
            return None
        if kind == "Exact":
            return table.PathMatch(type="exact", value=value)
        return table.PathMatch(type="prefix", value=value.rstrip("/") or "/")

    def _add_route(self, rule: str, host: str, path: table.PathMatch | None, backend: Object, place: str) -> None:
        claim = (host, path.type, path.value) if path else ("", "default", "")
        route = f"{self.object}/{rule}"
        owner = self.edge.claims.setdefault(claim, route)
        if owner != route:
            what = f"{host or 'every host'}{path.value}" if path else "the default backend"
            older = self.work.routes[owner].info.object
            self.work.problem(self.object, place, "Conflict", f"{what} already belongs to {older}, which is older")
            return
        target = self._backend(backend, place)
        self.work.routes[route] = table.Route(
            id=route,
            listeners=(EDGE_HTTP, EDGE_HTTPS) if self.tls else (EDGE_HTTP,),
            hosts=(host,) if host else (),
            match=table.Match(path=path) if path else table.Match(),
            order=self.order * canaries.STRIDE,
            backends=(table.WeightedBackend(backend=target),) if target else (),
            respond=None if target else table.Respond(status=503, body=f"{self.object} {place}: no such backend\n"),
            info=table.Info(object=self.object, rule=place.removesuffix(".backend")),
        )

    def _backend(self, backend: Object, place: str) -> str:
        """The Backend's id; "" and a Problem when the reference leads nowhere."""
        try:
            base = self.edge.references.ingress(backend, self.namespace)
            return self.edge.references.variant(base, self.key.rpartition("/")[2], self._policy(backend))
        except references.NoBackend as error:
            self.work.problem(self.object, place + error.below, error.reason, str(error))
            return ""

    def _policy(self, backend: Object) -> Object:
        """The Backend's fields by the Ingress's annotations on top of its Service's; none where it has none."""
        attached = self.work.attached.of("Ingress", self.namespace, self.key.rpartition("/")[2])
        if not any(name.startswith(policy.PREFIX) for name in self.annotations) or self.canary.only:
            return attached
        service = self.work.services[f"{self.namespace}/{backend['service']['name']}"]
        under = service["metadata"].get("annotations") or {}
        return {**attached, **policy.parse({**under, **self.annotations}, obj=self.object)[0]}
