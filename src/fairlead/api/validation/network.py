"""What Services, Ingresses and EndpointSlices may say (`pkg/apis/{core,networking,discovery}/validation`)."""

from __future__ import annotations

import functools
import ipaddress
from typing import Any

from fairlead.api import field_errors, names
from fairlead.api.validation import common

Object = dict[str, Any]
Problems = common.Problems
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


@functools.lru_cache(maxsize=4096)
def _is_address(text: str) -> bool:
    """Asked of every endpoint of a slice whenever one of them changes."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def validate_service(obj: Object) -> Problems:
    spec = obj.get("spec") or {}
    found = common.one_of(spec.get("type"), "spec.type", _TYPES)
    headless, external = spec.get("clusterIP") == "None", spec.get("type") == "ExternalName"
    ports = spec.get("ports") or ()
    if not ports and not headless and not external:
        found.append(field_errors.required("spec.ports"))
    names_seen: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        _service_port(port, where, found, alone=len(ports) == 1, seen=names_seen)
        if (port.get("port"), port.get("protocol")) in numbers:
            value = {key: port[key] for key in ("protocol", "port") if key in port}
            found.append(field_errors.duplicate(where, value))
        numbers.add((port.get("port"), port.get("protocol")))
        if port.get("nodePort") and spec.get("type") in ("ClusterIP", "ExternalName"):
            found.append(
                field_errors.forbidden(f"{where}.nodePort", f"may not be used when `type` is '{spec['type']}'")
            )
    found += names.validate_labels(spec.get("selector"), "spec.selector")
    found += common.one_of(spec.get("sessionAffinity"), "spec.sessionAffinity", ("ClientIP", "None"))
    if external:
        name = spec.get("externalName", "")
        if not name:
            found.append(field_errors.required("spec.externalName"))
        elif problem := names.subdomain_problem(name.rstrip(".")):
            found.append(field_errors.invalid("spec.externalName", name, problem))
    if headless and spec.get("type") in ("NodePort", "LoadBalancer"):
        detail = f"may not be set to 'None' for {spec['type']} services"
        found.append(field_errors.invalid("spec.clusterIPs[0]", "None", detail))
    for field in ("externalTrafficPolicy", "internalTrafficPolicy"):
        if spec.get(field):
            found += common.one_of(spec[field], f"spec.{field}", ("Cluster", "Local"))
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if problem := _external_problem(address):
            found.append(field_errors.invalid(f"spec.externalIPs[{index}]", address, problem))
    found += _external_traffic(spec)
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is not None and not 0 < seconds <= 86400:
        detail = "must be greater than 0 and less than 86400"
        found.append(field_errors.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, detail))
    return found


def is_external(spec: Object) -> bool:
    """Whether clients outside have an address of the Service's (`ExternallyAccessible`)."""
    return spec.get("type") in ("NodePort", "LoadBalancer") or bool(
        spec.get("type") == "ClusterIP" and spec.get("externalIPs")
    )


def _external_problem(address: str) -> str:
    """`ValidateNonSpecialIP`: what can be nobody's outside."""
    if not _is_address(address):
        return _IP_TEXT
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        return f"may not be unspecified ({address})"
    if parsed.is_loopback:
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    if parsed.is_link_local:
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)" if parsed.is_multicast else ""


def _external_traffic(spec: Object) -> Problems:
    """What only load balancers, or only Services with an address outside, may say; where traffic is to stay."""
    found: Problems = []
    balancer = spec.get("type") == "LoadBalancer"
    if spec.get("externalTrafficPolicy") and not is_external(spec):
        detail = "may only be set for externally-accessible services"
        found.append(field_errors.invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], detail))
    if spec.get("healthCheckNodePort") and not (balancer and spec.get("externalTrafficPolicy") == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(field_errors.invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], detail))
    for index, network in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        where = f"spec.loadBalancerSourceRanges[{index}]"
        if not _is_network(network):
            found.append(field_errors.invalid(where, network, "must be a valid CIDR value, (e.g. 10.9.8.0/24)"))
    for field in ("loadBalancerSourceRanges", "loadBalancerClass", "allocateLoadBalancerNodePorts"):
        if spec.get(field) is not None and spec.get(field) != [] and not balancer:
            found.append(field_errors.forbidden(f"spec.{field}", "may only be used when `type` is 'LoadBalancer'"))
    if spec.get("trafficDistribution") is not None:
        known = ("PreferClose", "PreferSameNode", "PreferSameZone")
        found += common.one_of(spec["trafficDistribution"], "spec.trafficDistribution", known)
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        found += common.one_of(family, f"spec.ipFamilies[{index}]", ("IPv4", "IPv6"))
    return found


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return False
    return "/" in text


def _service_port(port: Object, where: str, found: Problems, *, alone: bool, seen: set[str]) -> None:
    name = port.get("name", "")
    if not name and not alone:
        found.append(field_errors.required(f"{where}.name"))
    elif name:
        if problem := names.label_problem(name):
            found.append(field_errors.invalid(f"{where}.name", name, problem))
        if name in seen:
            found.append(field_errors.duplicate(f"{where}.name", name))
        seen.add(name)
    found += common.port_number(port.get("port", 0), f"{where}.port")
    found += common.one_of(port.get("protocol"), f"{where}.protocol", _PROTOCOLS)
    if "targetPort" in port:
        found += common.port_or_name(port["targetPort"], f"{where}.targetPort")


def validate_service_update(obj: Object, old: Object) -> Problems:
    """A cluster address stays while the Service has one; so do the class of a load balancer and its health port."""
    new, before = obj.get("spec") or {}, old.get("spec") or {}
    for field, path in (
        ("healthCheckNodePort", "spec.healthCheckNodePort"),
        ("loadBalancerClass", "spec.loadBalancerClass"),
    ):
        if before.get(field) and new.get(field) and new[field] != before[field]:
            return [field_errors.invalid(path, new[field], "field is immutable")]
    if "ExternalName" in (new.get("type"), before.get("type")) or not before.get("clusterIP"):
        return []
    detail = "may not change once set"
    if new.get("clusterIP") != before["clusterIP"]:
        return [field_errors.invalid("spec.clusterIPs[0]", new.get("clusterIPs"), detail)]
    return [
        field_errors.invalid(f"spec.{field}[{index}]", new.get(field), detail)
        for field in ("clusterIPs", "ipFamilies")
        for index, (now, then) in enumerate(zip(new.get(field) or (), before.get(field) or (), strict=False))
        if now != then
    ]


def validate_ingress(obj: Object) -> Problems:
    spec = obj.get("spec") or {}
    found: Problems = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        found.append(field_errors.invalid("spec", spec, "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        found += _ingress_backend(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules") or ()):
        found += _ingress_rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls") or ()):
        for position, host in enumerate(tls.get("hosts") or ()):
            if problem := _host_problem(host):
                found.append(field_errors.invalid(f"spec.tls[{index}].hosts[{position}]", host, problem))
    name = spec.get("ingressClassName")
    if name is not None and (problem := names.subdomain_problem(name)):
        found.append(field_errors.invalid("spec.ingressClassName", name, problem))
    return found


def _host_problem(host: str) -> str:
    if "*" in host:
        if not host.startswith("*.") or "*" in host[2:]:
            return (
                "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
                "which must consist "
                "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
            )
        return names.subdomain_problem(host[2:])
    if _is_address(host):
        return "must be a DNS name, not an IP address"
    return names.subdomain_problem(host)


def _ingress_rule(rule: Object, where: str) -> Problems:
    found: Problems = []
    host = rule.get("host")
    if host and (problem := _host_problem(host)):
        found.append(field_errors.invalid(f"{where}.host", host, problem))
    http = rule.get("http")
    if http is None:
        return found
    if not http.get("paths"):
        found.append(field_errors.required(f"{where}.http.paths"))
    for index, path in enumerate(http.get("paths") or ()):
        found += _ingress_path(path, f"{where}.http.paths[{index}]")
    return found


def _ingress_path(path: Object, where: str) -> Problems:
    kind, text = path.get("pathType"), path.get("path", "")
    if not kind:
        return [field_errors.required(f"{where}.pathType", "pathType must be specified")]
    found = common.one_of(kind, f"{where}.pathType", ("Exact", "ImplementationSpecific", "Prefix"))
    if kind in ("Exact", "Prefix") or text:
        if not text.startswith("/"):
            found.append(field_errors.invalid(f"{where}.path", text, "must be an absolute path"))
        for bad in ("//", "/./", "/../", "%2f", "%2F"):
            if bad in text and kind != "ImplementationSpecific":
                found.append(field_errors.invalid(f"{where}.path", text, f"must not contain '{bad}'"))
        for bad in ("/..", "/."):
            if text.endswith(bad) and kind != "ImplementationSpecific":
                found.append(field_errors.invalid(f"{where}.path", text, f"cannot end with '{bad}'"))
    return found + _ingress_backend(path.get("backend") or {}, f"{where}.backend")


def _ingress_backend(backend: Object, where: str) -> Problems:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [field_errors.invalid(where, "", "cannot set both resource and service backends")]
    if resource is not None:
        return []
    if service is None:
        return [field_errors.required(where, "must specify resource or service")]
    found: Problems = []
    name, port = service.get("name", ""), service.get("port") or {}
    if not name:
        found.append(field_errors.required(f"{where}.service.name"))
    elif problem := names.label_1035_problem(name):
        found.append(field_errors.invalid(f"{where}.service.name", name, problem))
    if port.get("name") and port.get("number"):
        found.append(field_errors.invalid(where, "", "cannot set both port name & port number"))
    elif port.get("name"):
        if problem := names.port_name_problem(port["name"]):
            found.append(field_errors.invalid(f"{where}.service.port.name", port["name"], problem))
    elif port.get("number"):
        found += common.port_number(port["number"], f"{where}.service.port.number")
    else:
        found.append(field_errors.required(where, "port name or number is required"))
    return found


def validate_ingress_class(obj: Object) -> Problems:
    controller = (obj.get("spec") or {}).get("controller", "")
    if not controller or "/" not in controller:
        return [
            field_errors.invalid(
                "spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")'
            )
        ]
    return []


def validate_endpoint_slice(obj: Object) -> Problems:
    kind = obj.get("addressType", "")
    found = common.one_of(kind, "addressType", ("IPv4", "IPv6", "FQDN"))
    endpoints = obj.get("endpoints") or ()
    if len(endpoints) > 1000:
        found.append(field_errors.too_many("endpoints", len(endpoints), 1000))
    if len(obj.get("ports") or ()) > 20000:
        found.append(field_errors.too_many("ports", len(obj["ports"]), 20000))
    for index, endpoint in enumerate(endpoints):
        where = f"endpoints[{index}].addresses"
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            found.append(field_errors.required(where, "must contain at least 1 address"))
        for position, address in enumerate(addresses):
            if kind == "FQDN":
                problem = names.subdomain_problem(address.rstrip("."))
            else:
                problem = "" if _is_address(address) and (":" in address) == (kind == "IPv6") else _IP_TEXT
            if problem:
                found.append(field_errors.invalid(f"{where}[{position}]", address, problem))
    seen: set[str] = set()
    for index, port in enumerate(obj.get("ports") or ()):
        if port.get("name", "") in seen:
            found.append(field_errors.duplicate(f"ports[{index}].name", port.get("name", "")))
        seen.add(port.get("name", ""))
        found += common.one_of(port.get("protocol"), f"ports[{index}].protocol", _PROTOCOLS)
    return found


def validate_endpoint_slice_update(obj: Object, old: Object) -> Problems:
    if obj.get("addressType") != old.get("addressType"):
        return [field_errors.immutable("addressType", obj.get("addressType"))]
    return []
