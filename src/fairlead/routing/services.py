"""Services to Backends and, where the kernel does not carry them, to Listeners of the engine.

Every Service port is one Backend per address family; a second one with a node's own endpoints only where a traffic
policy is Local; and an L7 view where `appProtocol` says so or an Ingress asks. Follows the Service API and KEP-2086.
ExternalName and headless Services have no address to carry: they are DNS' business, but an Ingress may still name a
headless one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.routing import addresses, carrier, draft, endpoints, policy, service_doors, settings, table

Object = dict[str, Any]

#: appProtocol -> the protocol that the engine speaks to the endpoints (KEP-3726 and the words that came before it)
L7_PROTOCOLS: dict[str, Any] = {
    "http": "http", "kubernetes.io/ws": "http", "kubernetes.io/h2c": "h2c", "grpc": "h2c",
}  # fmt: skip
_EDGE_PROTOCOLS: dict[str, Any] = {**L7_PROTOCOLS, "https": "https", "kubernetes.io/wss": "https"}
_IGNORED_ANNOTATIONS = frozenset({"drain-seconds"})


def add(work: draft.Draft, service: Object) -> None:
    """Adds a Service."""
    _Translator(work, service).add()


def port_id(port: Object) -> str:
    """How ids name a Service port: its name, else its number."""
    return str(port.get("name") or port["port"])


def http_backend(work: draft.Draft, service: Object, port: Object) -> str:
    """The id of the Service port's L7 view, which is added when it is not there yet."""
    return _Translator(work, service).http_view(port)


def plain_backend(work: draft.Draft, service: Object, port: Object) -> str:
    """The id of the Service port's L4 Backend of its first address family, added when it is not there yet."""
    return _Translator(work, service).plain_view(port)


def headless_backends(work: draft.Draft, service: Object, port: Object) -> list[tuple[str, str]]:
    """The port's L4 Backends, one per address family: (what its ids end in, id), the first family's ending in ""."""
    return _Translator(work, service).family_views(port)


class _Translator:
    """One Service."""

    def __init__(self, work: draft.Draft, service: Object) -> None:
        self.work = work
        self.service = service
        self.spec: Object = service.get("spec") or {}
        self.key = draft.key(service)
        self.object = f"Service/{self.key}"
        self.families: list[str] = self.spec.get("ipFamilies") or ["IPv4"]
        annotations = {
            name: value
            for name, value in (service["metadata"].get("annotations") or {}).items()
            if name.removeprefix(policy.PREFIX) not in _IGNORED_ANNOTATIONS
        }
        self.policy, self.mistakes = policy.parse(annotations, obj=self.object)
        self.meta: Object = service["metadata"]

    def add(self) -> None:
        self.work.problems.extend(self.mistakes)
        service_doors.refuse(self.work, self.service)
        if self.spec.get("type") == "ExternalName" or self.spec.get("clusterIP") in (None, "", "None"):
            return
        own = [addresses.canonical(one) for one in self.spec.get("clusterIPs") or [self.spec["clusterIP"]]]
        for port in self.spec.get("ports") or ():
            if (port.get("protocol") or "TCP") not in ("TCP", "UDP"):
                self.work.problem(
                    self.object, "spec.ports", "UnsupportedProtocol",
                    f"port {port_id(port)}: {port['protocol']} is not carried; use TCP or UDP",
                )  # fmt: skip
                continue
            for index, address in enumerate(own):
                self._add_port(port, address, index)

    def _add_port(self, port: Object, address: str, index: int) -> None:
        family = "IPv6" if ":" in address else "IPv4"
        l7 = port.get("appProtocol") in L7_PROTOCOLS and (port.get("protocol") or "TCP") == "TCP"
        suffix = f"/{family}" if index else ""
        if l7:
            backend = self.http_view(port) if not index else self._add_backend(port, family, f"/http{suffix}", l7=True)
        else:
            backend = self._add_backend(port, family, suffix)
        inner_local = self.spec.get("internalTrafficPolicy") == "Local"
        outer_local = self.spec.get("externalTrafficPolicy") == "Local"
        local = ""
        outside = service_doors.external_virtuals(self.work, self.service, port, family)
        if inner_local or outer_local:
            view = "/http" if l7 else ""
            local = self._add_backend(port, family, f"{view}/local{suffix}", local=True, l7=l7)
        inside = table.Virtual(address=address, port=port["port"], cluster=backend if inner_local else "")
        self._give(local if inner_local else backend, (inside,))
        if outer_local:
            outside = tuple(msgspec.structs.replace(virtual, cluster=backend) for virtual in outside)
        self._give(local if outer_local else backend, outside)
        service_doors.add_listeners(
            self.work, self.service, port, address=address, suffix=suffix,
            inside=local if inner_local else backend, outside=local if outer_local else backend,
            alone=len(self.spec.get("clusterIPs") or "1") == 1,
        )  # fmt: skip
        for carried in {backend, local} - {""}:
            service_doors.add_datagram_door(self.work, carried, address)
        if not index:
            service_doors.add_health_port(self.work, self.service, local or backend)

    def _give(self, backend: str, virtuals: tuple[table.Virtual, ...]) -> None:
        known = self.work.backends[backend]
        if self.work.settings.kernel and virtuals:
            self.work.backends[backend] = msgspec.structs.replace(known, virtual=(*known.virtual, *virtuals))

    def http_view(self, port: Object) -> str:
        """The L7 Backend of the port, of the Service's first address family."""
        return self._add_backend(port, self.families[0], "/http", l7=True)

    def plain_view(self, port: Object) -> str:
        """The L4 Backend of the port, of the Service's first address family; a port 0 stands for a Service without."""
        return self._add_backend(port, self.families[0], "")

    def family_views(self, port: Object) -> list[tuple[str, str]]:
        """See `headless_backends`."""
        endings = [f"/{family}" if index else "" for index, family in enumerate(self.families)]
        return [
            (ending, self._add_backend(port, family, ending))
            for ending, family in zip(endings, self.families, strict=True)
        ]

    def _add_backend(self, port: Object, family: str, suffix: str, *, local: bool = False, l7: bool = False) -> str:
        name = f"{self.key}:{port_id(port)}{suffix}"
        if name not in self.work.backends:
            info = table.Info(object=self.object, rule=f"spec.ports[{port_id(port)}]")
            backend = table.Backend(id=name, info=info, **self._fields(port, l7=l7))
            if carried_by(backend, self.work.settings) != "kernel" and not local:
                backend = self._preferring(backend)
            self.work.backends[name] = backend
            self.work.sources[name] = endpoints.Source(
                backend=name, service=self.key, port=port.get("name") or "", protocol=port.get("protocol") or "TCP",
                family=family, local_only=local, any_port=not port["port"],
                publish_not_ready=bool(self.spec.get("publishNotReadyAddresses")),
                spills=bool(backend.zone or backend.node),
            )  # fmt: skip
        return name

    def _preferring(self, backend: table.Backend) -> table.Backend:
        """KEP-4444 and KEP-3015, by an engine: what is near is preferred as long as that is fair to it."""
        wanted = self.spec.get("trafficDistribution")
        if wanted not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
            return backend
        where = self.work.settings
        node = where.node if wanted == "PreferSameNode" else ""
        return msgspec.structs.replace(backend, zone=where.zone, node=node)

    def _fields(self, port: Object, *, l7: bool) -> dict[str, Any]:
        policies = self.work.attached.of(
            "Service", self.meta.get("namespace", ""), self.meta["name"], section=port_id(port)
        )
        fields = {**policies, **self.policy}
        if self.spec.get("sessionAffinity") == "ClientIP" and "affinity" not in fields:
            config = (self.spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
            fields["affinity"] = table.Affinity(
                kind="client", timeout_seconds=float(config.get("timeoutSeconds") or 10800)
            )
        if l7:
            fields["protocol"] = _EDGE_PROTOCOLS.get(port.get("appProtocol") or "", "http")
            return fields
        fields["protocol"] = (port.get("protocol") or "TCP").lower()
        if fields["protocol"] == "udp":
            fields.pop("hold", None)  # a datagram does not wait
        return fields


def carried_by(backend: table.Backend, where: settings.Settings) -> carrier.Carrier:
    """Who carries a Service's addresses in this network mode."""
    carried = carrier.carrier(backend)
    return "engine-l4" if carried == "kernel" and not where.kernel else carried
