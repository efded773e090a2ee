"""Services: cluster addresses, node ports and health-check node ports are given when a Service is made, follow its
type, and are freed when it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.api import field_errors, names
from fairlead.api.defaults import network as defaults
from fairlead.api.kinds import SERVICE
from fairlead.api.validation import network as validation
from fairlead.apiserver import addresses, status
from fairlead.apiserver.behaviours import base, service_families

Object = dict[str, Any]
_WITH_PORTS = ("NodePort", "LoadBalancer")


class Services(base.Behaviour):
    """`pkg/registry/core/service`: strategy and allocators."""

    def name_problem(self, name: str, *, prefix: bool) -> str:
        return names.label_1035_problem(name.rstrip("-") + "a" if prefix else name)

    def default(self, obj: Object) -> None:
        defaults.service(obj)

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        obj["status"] = {"loadBalancer": {}}
        _allocate(obj, None, around)

    def admit_update(self, obj: Object, old: Object, around: base.Surroundings) -> None:
        _carry(obj["spec"], old.get("spec") or {})
        _allocate(obj, old, around)

    def validate(self, obj: Object) -> base.Problems:
        return validation.validate_service(obj)

    def validate_update(self, obj: Object, old: Object) -> base.Problems:
        return validation.validate_service_update(obj, old)

    def created(self, obj: Object, around: base.Surroundings) -> None:
        _keep(obj, around.addresses)

    def deleted(self, obj: Object, around: base.Surroundings) -> None:
        around.addresses.keep(owner_of(obj), addresses=set(), ports=set())


def owner_of(obj: Object) -> str:
    """The allocator's name for a Service."""
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _keep(obj: Object, allocator: addresses.Allocator) -> None:
    spec = obj.get("spec") or {}
    ports = {(port["nodePort"], port["protocol"]) for port in spec.get("ports") or () if port.get("nodePort")}
    if spec.get("healthCheckNodePort"):
        ports.add((spec["healthCheckNodePort"], "TCP"))
    allocator.keep(owner_of(obj), addresses=set(spec.get("clusterIPs") or ()), ports=ports)


def _carry(spec: Object, old: Object) -> None:
    """What a writer leaves out of an update stays: addresses, and node ports of ports that stay."""
    if spec.get("type") != "ExternalName" and old.get("type") != "ExternalName":
        if not spec.get("clusterIP"):
            spec["clusterIP"] = old.get("clusterIP", "")
            if not spec.get("clusterIPs") and "clusterIPs" in old:
                spec["clusterIPs"] = old["clusterIPs"]
        if not spec.get("clusterIPs") and spec["clusterIP"]:
            unchanged = spec["clusterIP"] == old.get("clusterIP") and old.get("clusterIPs")
            spec["clusterIPs"] = list(old["clusterIPs"]) if unchanged else [spec["clusterIP"]]
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if field in old:
                spec.setdefault(field, old[field])
    if spec.get("type") in _WITH_PORTS:
        before = {(port["port"], port.get("protocol", "TCP")): port.get("nodePort") for port in old.get("ports") or ()}
        for port in spec.get("ports") or ():
            known = before.get((port.get("port"), port.get("protocol", "TCP")))
            if not port.get("nodePort") and known:
                port["nodePort"] = known
    elif old.get("type") in _WITH_PORTS:
        before_ports = {port.get("nodePort") for port in old.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in before_ports:
                port.pop("nodePort", None)
    if needs_health_port(old) and needs_health_port(spec):
        spec["healthCheckNodePort"] = spec.get("healthCheckNodePort") or old.get("healthCheckNodePort") or 0
    for needs, fields in _DEPENDENT:
        if needs(old) and not needs(spec):
            for field in fields:
                if spec.get(field) == old.get(field):
                    spec.pop(field, None)


def needs_health_port(spec: Object) -> bool:
    """A load balancer outside must ask this node whether it has endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


#: what goes with a type and leaves with it, unless the writer changed it (`dropTypeDependentFields`)
_DEPENDENT: tuple[tuple[Callable[[Object], bool], tuple[str, ...]], ...] = (
    (needs_health_port, ("healthCheckNodePort",)),
    (lambda spec: spec.get("type") == "LoadBalancer", ("allocateLoadBalancerNodePorts", "loadBalancerClass")),
    (validation.is_external, ("externalTrafficPolicy",)),
)


def _allocate(obj: Object, old: Object | None, around: base.Surroundings) -> None:
    spec, allocator, owner = obj["spec"], around.addresses, owner_of(obj)
    if spec.get("type") == "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(field, None)
        return
    if not spec.get("clusterIP") and spec.get("clusterIPs"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    before = (old or {}).get("spec")
    if problems := service_families.settle(spec, before if before and before.get("clusterIP") else None, allocator):
        raise status.invalid(SERVICE, obj["metadata"]["name"], problems)
    path, value = "spec.clusterIPs", ""
    try:
        own = list(spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else []))
        for index, family in enumerate(spec["ipFamilies"] if own != ["None"] else ()):
            value = own[index] if index < len(own) else ""
            if value:
                allocator.take_address(value, owner=owner)
            else:
                own.append(allocator.any_address(owner=owner, family=family))
        spec["clusterIP"], spec["clusterIPs"] = own[0], own
        if spec.get("type") in _WITH_PORTS:
            for index, port in enumerate(spec.get("ports") or ()):
                path, value = f"spec.ports[{index}].nodePort", port.get("nodePort") or ""
                _node_port(port, spec, allocator, owner)
        if needs_health_port(spec):
            path, value = "spec.healthCheckNodePort", spec.get("healthCheckNodePort") or ""
            if value:
                allocator.take_port(int(value), "TCP", owner=owner)
            else:
                spec["healthCheckNodePort"] = allocator.any_port("TCP", owner=owner)
    except addresses.AllocationError as error:
        if old is None:
            allocator.keep(owner, addresses=set(), ports=set())
        else:
            _keep(old, allocator)
        problem = field_errors.invalid(path, [value] if path.endswith("IPs") else value, str(error))
        raise status.invalid(SERVICE, obj["metadata"]["name"], [problem]) from error


def _node_port(port: Object, spec: Object, allocator: addresses.Allocator, owner: str) -> None:
    protocol = port.get("protocol", "TCP")
    if port.get("nodePort"):
        allocator.take_port(port["nodePort"], protocol, owner=owner)
    elif spec.get("type") == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True):
        port["nodePort"] = allocator.any_port(protocol, owner=owner)


def restore(objects: list[Object], allocator: addresses.Allocator) -> None:
    """Takes what the stored Services have, after a start."""
    for obj in objects:
        spec, owner = obj.get("spec") or {}, owner_of(obj)
        for address in spec.get("clusterIPs") or ():
            if address != "None":
                _try_take(lambda a=address, o=owner: allocator.take_address(a, owner=o))
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                number, protocol = port["nodePort"], port.get("protocol", "TCP")
                _try_take(lambda n=number, p=protocol, o=owner: allocator.take_port(n, p, owner=o))
        if health := spec.get("healthCheckNodePort"):
            _try_take(lambda n=health, o=owner: allocator.take_port(n, "TCP", owner=o))


def _try_take(take: Any) -> None:
    """An address out of range (the range was changed) stays with its Service and is not counted."""
    try:
        take()
    except addresses.AllocationError:
        return
