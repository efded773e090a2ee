"""Services of type LoadBalancer get an address at once, never `<pending>`.

It is the machine's own loopback address, where the engine listens; where one of its ports is taken, there or by another
program, the Service's own address, which this machine reaches as well, and the status says which port and why: in the
port's `error`, and in the Service API's condition `LoadBalancerPortsError`. A Service with a
`loadBalancerClass` is somebody else's.
"""

from __future__ import annotations

from typing import Any

from fairlead.routing import draft

TAKEN = "PortTaken"


def add(work: draft.Draft, service: dict[str, Any]) -> None:
    """Adds the status of a Service of type LoadBalancer."""
    spec = service.get("spec") or {}
    if spec.get("type") != "LoadBalancer" or spec.get("loadBalancerClass"):
        return
    taken = [port for port in spec.get("ports") or () if not _has_door(work, service, port)]
    ports = [_port(work, port, taken) for port in spec.get("ports") or ()]
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    if not taken:
        addresses = ["::1" if ":" in address else "127.0.0.1" for address in addresses]
    ingress = [{"ip": address, "ipMode": "Proxy", "ports": ports} for address in addresses if address]
    meta = service["metadata"]
    status = {"loadBalancer": {"ingress": ingress}, "conditions": _conditions(work, taken, addresses)}
    work.statuses.append(draft.Status("Service", meta.get("namespace", ""), meta["name"], status))


def _has_door(work: draft.Draft, service: dict[str, Any], port: dict[str, Any]) -> bool:
    """Whether the engine listens for it at the machine's own address."""
    door = f"service/{draft.key(service)}/{port.get('name') or port['port']}/load-balancer"
    return door in work.listeners and door not in work.snapshot.refused


def _port(work: draft.Draft, port: dict[str, Any], taken: list[dict[str, Any]]) -> dict[str, Any]:
    told = {"port": work.settings.carried_port(port["port"]), "protocol": port.get("protocol") or "TCP"}
    return {**told, "error": TAKEN} if port in taken else told


def _conditions(work: draft.Draft, taken: list[dict[str, Any]], addresses: list[str]) -> list[dict[str, Any]]:
    if not taken:
        return []
    places = ", ".join(f"127.0.0.1:{work.settings.carried_port(port['port'])}" for port in taken)
    message = f"{places} is taken (an Event says by whom); the Service is reached at {', '.join(addresses)}"
    return [{"type": "LoadBalancerPortsError", "status": "True", "reason": TAKEN, "message": message}]
