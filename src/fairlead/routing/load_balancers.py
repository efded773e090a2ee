"""Services of type LoadBalancer get an address at once, never `<pending>`.

It is the machine's own loopback address, where the engine listens; where one of its ports is taken, there or by another
program, the Service's own address, which this machine reaches as well. A Service with a `loadBalancerClass` is
somebody else's.
"""

from __future__ import annotations

from typing import Any

from fairlead.routing import draft


def add(work: draft.Draft, service: dict[str, Any]) -> None:
    """Adds the status of a Service of type LoadBalancer."""
    spec = service.get("spec") or {}
    if spec.get("type") != "LoadBalancer" or spec.get("loadBalancerClass"):
        return
    ports = [
        {"port": work.settings.carried_port(port["port"]), "protocol": port.get("protocol") or "TCP"}
        for port in spec.get("ports") or ()
    ]
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    if _has_all_doors(work, service):
        addresses = ["::1" if ":" in address else "127.0.0.1" for address in addresses]
    ingress = [{"ip": address, "ipMode": "Proxy", "ports": ports} for address in addresses if address]
    meta = service["metadata"]
    status = {"loadBalancer": {"ingress": ingress}}
    work.statuses.append(draft.Status("Service", meta.get("namespace", ""), meta["name"], status))


def _has_all_doors(work: draft.Draft, service: dict[str, Any]) -> bool:
    base = f"service/{draft.key(service)}"
    ports = (service.get("spec") or {}).get("ports") or ()
    doors = {f"{base}/{port.get('name') or port['port']}/load-balancer" for port in ports}
    return doors <= work.listeners.keys() - set(work.snapshot.refused)
