"""Where an application is reached: one line an address, with who can reach it."""

from __future__ import annotations

from typing import Any

from fairlead.cli import known
from fairlead.client import protocol
from fairlead.cluster import state
from fairlead.routing import draft, settings

Object = dict[str, Any]


async def lines(client: protocol.Client, record: state.Record, folder: state.StateFolder) -> list[str]:
    """Ingress, Service and API addresses of a running cluster."""
    seen = await known.read(client, folder)
    ingresses = [one for one in seen.snapshot.ingresses if draft.key(one) in seen.carried]
    services = list(seen.snapshot.services)
    found = [
        f"ingress   {url}   {title} ({_reach(record.edge_http)})" for url, title in ingress_urls(ingresses, record)
    ]
    found += [f"service   {url}   {title}" for url, title in service_urls(services, record)]
    host = settings.bracketed(record.api_address)
    found += [f"balancer  {url}   {title}" for url, title in load_balancer_urls(services)]
    found.append(f"api       https://{host}:{record.api_port}   ({_reach([f'{host}:0'])})")
    if record.dns:
        found.append(f"dns       {record.dns}   (cluster.local; `fairlead resolve NAME`)")
    found += [f"firewall  {text}" for text in record.obstacles]
    found.append(f"kubectl   export KUBECONFIG={folder.kubeconfig}")
    return found


def ingress_urls(ingresses: list[Object], record: state.Record) -> list[tuple[str, str]]:
    """(URL, namespace/name) of every host of every Ingress."""
    ports = {True: _port(record.edge_https, 443), False: _port(record.edge_http, 80)}
    found = []
    for ingress in ingresses:
        spec = ingress.get("spec", {})
        secured = {host for tls in spec.get("tls", ()) for host in tls.get("hosts", ())}
        title = f"{ingress['metadata']['namespace']}/{ingress['metadata']['name']}"
        for rule in spec.get("rules") or [{}]:
            host = rule.get("host", "localhost")
            scheme, default = ("https", 443) if host in secured else ("http", 80)
            port = ports[host in secured]
            found.append((f"{scheme}://{host}{'' if port == default else f':{port}'}/", title))
    return found


def service_urls(services: list[Object], record: state.Record) -> list[tuple[str, str]]:
    """(address, namespace/name) of every Service port at each of its addresses; the port it is really carried at."""
    within = " (in the cluster; from here: fairlead curl)" if record.network == "rootless" else ""
    found = []
    for service in services:
        metadata, spec = service["metadata"], service.get("spec", {})
        if spec.get("clusterIP", "") in ("", "None") or metadata["name"] == "kubernetes":
            continue
        title = f"{metadata['namespace']}/{metadata['name']}{within}"
        own = spec.get("clusterIPs") or [spec["clusterIP"]]
        found += [
            (_url(address, port["port"], port.get("protocol", "TCP"), carried_port(record, port["port"])), title)
            for port in spec.get("ports", ())
            for address in own
        ]
    return found


def load_balancer_urls(services: list[Object]) -> list[tuple[str, str]]:
    """(address, namespace/name) of every port of a Service of type LoadBalancer, as its status says."""
    found = []
    for service in services:
        title = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        for entry in (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ():
            for port in entry.get("ports") or ():
                if entry.get("ip") and not port.get("error"):
                    found.append((_url(entry["ip"], port["port"], port.get("protocol", "TCP")), title))
    return found


def _url(address: str, port: int, protocol: str, at: int | None = None) -> str:
    """Where a Service port is asked; `at` is where it is really carried, if elsewhere."""
    at = at or port
    scheme = "udp" if protocol == "UDP" else "http" if port in (80, 8080) else "tcp"
    return f"{scheme}://{settings.bracketed(address)}{'' if scheme == 'http' and at == 80 else f':{at}'}/"


def carried_port(record: state.Record, port: int) -> int:
    """Where a Service port is listened on: itself, or port + 8000 where sockets carry it and may not bind it."""
    if record.network != "loopback" or port >= record.lowest_port:
        return port
    return port + settings.UNPRIVILEGED_SHIFT


def _port(places: list[str], default: int) -> int:
    return int(places[0].rpartition(":")[2]) if places else default


def _reach(places: list[str]) -> str:
    local = all(place.startswith(("127.", "[::1]", "localhost")) for place in places)
    return "this machine only" if local else "everybody who reaches this machine"
