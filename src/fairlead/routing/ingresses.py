"""Ingresses to Routes of the edge (networking.k8s.io/v1 Ingress, IngressClass; KEP-1453).

Exact comes before Prefix, the longest path first, prefixes by path element, an exact host before a one-label wildcard
before none, `defaultBackend` last. Where two Ingresses claim the same host and path, the oldest has it and the other is
told. One bad path never hurts another. Annotations of other controllers are named in a Problem: silence would be a lie.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.routing import certificates, draft, hosts, ingress_shape, policy, services, table
from fairlead.routing.ingress_nginx import process as nginx

Object = dict[str, Any]
EDGE_HTTP = "edge-http"
EDGE_HTTPS = "edge-https"
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_FOREIGN = ("nginx.ingress.kubernetes.io/", "haproxy.org/", "traefik.ingress.kubernetes.io/")


def process(work: draft.Draft) -> None:
    """Adds all Ingresses that are ours."""
    claims: dict[tuple[str, str, str], str] = {}
    classes = _Classes(work)
    sorted_ones = [(classes.of(one), one) for one in sorted(_sound(work), key=draft.age)]
    secrets = certificates.Secrets(work)
    for order, (whose, ingress) in enumerate(sorted_ones):
        if whose == "ours":
            _Translator(work, ingress, order, claims).add()
        if whose:
            secrets.add(ingress)
            _publish(work, ingress)
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


class _Translator:
    """One Ingress."""

    def __init__(self, work: draft.Draft, ingress: Object, order: int, claims: dict[tuple[str, str, str], str]) -> None:
        self.work = work
        self.spec: Object = ingress.get("spec") or {}
        self.annotations: dict[str, str] = ingress["metadata"].get("annotations") or {}
        self.key = draft.key(ingress)
        self.namespace = ingress["metadata"].get("namespace", "")
        self.object = f"Ingress/{self.key}"
        self.order = order
        self.claims = claims
        self.tls_hosts = bool(self.spec.get("tls"))

    def add(self) -> None:
        self._name_what_is_not_honoured()
        if self.spec.get("defaultBackend"):
            self._add_route("default", "", None, self.spec["defaultBackend"], "spec.defaultBackend")
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
                    self._add_route(f"{index}/{number}", host, match, path.get("backend") or {}, place + ".backend")

    def _name_what_is_not_honoured(self) -> None:
        ours = "policies of a backend are annotations of its Service"
        problems = policy.unknown(self.annotations, obj=self.object, prefix=policy.PREFIX, known=frozenset(), hint=ours)
        for prefix in _FOREIGN:
            hint = "annotations of other controllers are not translated"
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
        owner = self.claims.setdefault(claim, f"{self.object} {rule}")
        if owner != f"{self.object} {rule}":
            what = f"{host or 'every host'}{path.value}" if path else "the default backend"
            self.work.problem(
                self.object, place, "Conflict", f"{what} already belongs to {owner.split()[0]}, which is older"
            )
            return
        target = self._backend(backend, place)
        route = f"{self.object}/{rule}"
        self.work.routes[route] = table.Route(
            id=route,
            listeners=(EDGE_HTTP, EDGE_HTTPS) if self.tls_hosts else (EDGE_HTTP,),
            hosts=(host,) if host else (),
            match=table.Match(path=path) if path else table.Match(),
            order=self.order,
            backends=(table.WeightedBackend(backend=target),) if target else (),
            respond=None if target else table.Respond(status=503, body=f"{self.object} {place}: no such backend\n"),
            info=table.Info(object=self.object, rule=place.removesuffix(".backend")),
        )

    def _backend(self, backend: Object, place: str) -> str:
        """The Backend's id; "" and a Problem when the reference leads nowhere."""
        if "service" not in backend:
            self.work.problem(
                self.object,
                place,
                "UnsupportedBackend",
                "only a service can be a backend; resource backends are not carried",
            )
            return ""
        name, wanted = backend["service"].get("name", ""), backend["service"].get("port") or {}
        service = self.work.services.get(f"{self.namespace}/{name}")
        if service is None:
            self.work.problem(
                self.object, place, "BackendNotFound", f"there is no Service {self.namespace}/{name}; requests get 503"
            )
            return ""
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            self.work.problem(
                self.object, place, "UnsupportedBackend",
                f"Service {self.namespace}/{name} is an ExternalName, which is not carried; requests get 503",
            )  # fmt: skip
            return ""
        for port in spec.get("ports") or ():
            named = wanted.get("name") and wanted["name"] == port.get("name")
            if named or (not wanted.get("name") and wanted.get("number") == port["port"]):
                return services.http_backend(self.work, service, port)
        have = ", ".join(services.port_id(port) for port in spec.get("ports") or ()) or "none"
        self.work.problem(
            self.object, f"{place}.service.port", "PortNotFound",
            f"Service {self.namespace}/{name} has no port {wanted.get('name') or wanted.get('number')} (it has {have})",
        )  # fmt: skip
        return ""
