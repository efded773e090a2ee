"""The columns of Services, Endpoints, EndpointSlices, Ingresses, IngressClasses and NetworkPolicies."""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.printing import ages, columns

Object = dict[str, Any]
NONE, UNSET = "<none>", "<unset>"


def _external(spec: Object, status: Object) -> str:
    listed = spec.get("externalIPs") or []
    if spec.get("type") == "LoadBalancer":
        found = [
            one.get("ip") or one.get("hostname", "") for one in (status.get("loadBalancer") or {}).get("ingress") or ()
        ]
        return ",".join([*found, *listed]) or "<pending>"
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    return ",".join(listed) or NONE


def _port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"


def _service(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
    return [
        obj["metadata"]["name"],
        spec.get("type", ""),
        spec.get("clusterIP") or NONE,
        _external(spec, status),
        ",".join(map(_port, spec.get("ports") or ())) or NONE,
        ages.age(obj, now),
        selector or NONE,
    ]


SERVICE = columns.printer("Name Type Cluster-IP External-IP Port(s) Age Selector*", _service)


def _endpoints(obj: Object, now: float) -> list[Any]:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    shown = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [obj["metadata"]["name"], shown or NONE, ages.age(obj, now)]


ENDPOINTS = columns.printer("Name Endpoints Age", _endpoints)


def _few(values: list[str], empty: str) -> str:
    if not values:
        return empty
    return ",".join(values[:3]) + (f" + {len(values) - 3} more..." if len(values) > 3 else "")


def _slice(obj: Object, now: float) -> list[Any]:
    ports = [str(port.get("port", "*")) for port in obj.get("ports") or ()]
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return [
        obj["metadata"]["name"],
        obj.get("addressType", ""),
        _few(ports, UNSET),
        _few(addresses, UNSET),
        ages.age(obj, now),
    ]


ENDPOINT_SLICE = columns.printer("Name AddressType Ports Endpoints Age", _slice)


def _ingress(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    found = [
        one.get("ip") or one.get("hostname", "") for one in (status.get("loadBalancer") or {}).get("ingress") or ()
    ]
    klass = spec.get("ingressClassName") or (obj["metadata"].get("annotations") or {}).get(
        "kubernetes.io/ingress.class", NONE
    )
    return [
        obj["metadata"]["name"],
        klass,
        _few(hosts, "*"),
        ",".join(found),
        "80, 443" if spec.get("tls") else "80",
        ages.age(obj, now),
    ]


INGRESS = columns.printer("Name Class Hosts Address Ports Age", _ingress)


def _class(obj: Object, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters['kind']}{group}/{parameters['name']}"
    return [obj["metadata"]["name"], spec.get("controller", ""), shown, ages.age(obj, now)]


INGRESS_CLASS = columns.printer("Name Controller Parameters Age", _class)


def _policy(obj: Object, now: float) -> list[Any]:
    from fairlead.apiserver.printing import kinds

    return [
        obj["metadata"]["name"],
        kinds.selector_text((obj.get("spec") or {}).get("podSelector")),
        ages.age(obj, now),
    ]


NETWORK_POLICY = columns.printer("Name Pod-Selector Age", _policy)
