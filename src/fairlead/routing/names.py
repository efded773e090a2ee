"""Services to the Names that DNS answers, as Kubernetes' DNS specification 1.1.0 has them.

A Service's name is its addresses; a headless one's is its endpoints, each also below it by pod name or address; a named
port is an SRV record; an ExternalName is an alias. Nothing is made where nobody listens for DNS (`Settings.dns`).
"""

from __future__ import annotations

from typing import Any

from fairlead.routing import addresses, draft, services, table

Object = dict[str, Any]
LISTENER = "dns"
TTL_SECONDS = 5


def begin(work: draft.Draft) -> None:
    """Adds the zone, and the Listener that answers."""
    where = work.settings
    if where.dns:
        work.listeners[LISTENER] = table.Listener(id=LISTENER, protocol="dns", sockets=where.dns)
        work.names["zone"] = table.Name(id="zone", name=where.cluster_domain)


def add(work: draft.Draft, service: Object) -> None:
    """Adds the Names of a Service."""
    if not work.settings.dns:
        return
    spec, meta = service.get("spec") or {}, service["metadata"]
    key = draft.key(service)
    name = f"{meta['name']}.{meta.get('namespace', '')}.svc.{work.settings.cluster_domain}"
    if spec.get("type") == "ExternalName":
        _put(work, f"service/{key}", name, values=(f"cname:{spec.get('externalName', '')}",))
    elif spec.get("clusterIP") == "None":
        _add_headless(work, service, key, name)
    elif spec.get("clusterIP"):
        own = tuple(addresses.canonical(one) for one in spec.get("clusterIPs") or [spec["clusterIP"]])
        _put(work, f"service/{key}", name, values=own)
        for port in spec.get("ports") or ():
            if port.get("name"):
                record = f"srv:0 100 {port['port']} {name}"
                _put(work, f"service/{key}/{port['name']}", _srv(port, name), values=(record,))


def _add_headless(work: draft.Draft, service: Object, key: str, name: str) -> None:
    ports = (service.get("spec") or {}).get("ports") or [{"port": 0}]
    for index, port in enumerate(ports):
        for family, backend in services.headless_backends(work, service, port):
            if not index:
                _put(work, f"service/{key}{family}", name, backend=backend)
            if port.get("name"):
                _put(work, f"service/{key}/{port['name']}{family}", _srv(port, name), backend=backend)


def _srv(port: Object, name: str) -> str:
    return f"_{port['name']}._{(port.get('protocol') or 'TCP').lower()}.{name}"


def _put(work: draft.Draft, key: str, name: str, *, values: tuple[str, ...] = (), backend: str = "") -> None:
    made = table.Name(id=key, name=name, values=values, backend=backend, ttl_seconds=TTL_SECONDS)
    work.names[key] = made
