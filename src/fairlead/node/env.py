"""A container's environment as Kubernetes makes it: literals, fields, resources, ConfigMaps, Secrets, Services.

Later entries see earlier ones through `$(VAR)`; `env` wins over `envFrom`, both over Service variables. What is missing
is EnvProblem with the kubelet's message. Pure: the objects referred to are passed in.
"""

from __future__ import annotations

import base64
import decimal
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.api import quantity
from fairlead.node import expand

Object = dict[str, Any]
Key = tuple[str, str]  # ("ConfigMap" | "Secret", name)

_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")


class EnvProblem(Exception):
    """The environment cannot be made; the message says what is missing (CreateContainerConfigError)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What references may name. `objects` holds None for a ConfigMap or Secret that does not exist."""

    pod: Object
    node_name: str
    host_ip: str
    pod_ip: str
    node_cpu: float
    node_memory_bytes: int
    objects: Mapping[Key, Object | None] = field(default_factory=dict)
    services: Iterable[Object] = ()
    second_host_ip: str = ""
    second_pod_ip: str = ""


def references(container: Object) -> set[Key]:
    """The ConfigMaps and Secrets that this container's environment needs."""
    found: set[Key] = set()
    for source in container.get("envFrom") or []:
        for field_name, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if source.get(field_name):
                found.add((kind, source[field_name].get("name", "")))
    for entry in container.get("env") or []:
        origin = entry.get("valueFrom") or {}
        for field_name, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if origin.get(field_name):
                found.add((kind, origin[field_name].get("name", "")))
    return found


def build(container: Object, facts: Facts, base: Mapping[str, str]) -> dict[str, str]:
    """The environment; `base` is what the runtime and the image give. Raises EnvProblem."""
    values = dict(base)
    values.update(service_variables(facts.services))
    for source in container.get("envFrom") or []:
        values.update(_from_source(source, facts))
    for entry in container.get("env") or []:
        value = _value(entry, container, facts, values)
        if value is not None:
            values[entry["name"]] = value
    return values


def _from_source(source: Object, facts: Facts) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for field_name, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        reference = source.get(field_name)
        if reference is None:
            continue
        obj = facts.objects.get((kind, reference.get("name", "")))
        if obj is None:
            if reference.get("optional"):
                return {}
            raise EnvProblem(f'{kind.lower()} "{reference.get("name", "")}" not found')
        return {prefix + key: value for key, value in texts(kind, obj).items()}
    return {}


def _value(entry: Object, container: Object, facts: Facts, values: Mapping[str, str]) -> str | None:
    origin = entry.get("valueFrom")
    if not origin:
        return expand.expand(entry.get("value") or "", values)
    if origin.get("fieldRef"):
        return field_value(origin["fieldRef"].get("fieldPath", ""), facts)
    if origin.get("resourceFieldRef"):
        return resource_value(origin["resourceFieldRef"], container, facts)
    for field_name, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if origin.get(field_name):
            return _key_value(kind, origin[field_name], facts)
    raise EnvProblem(f"env {entry['name']}: valueFrom {sorted(origin)} is not supported here")


def _key_value(kind: str, reference: Object, facts: Facts) -> str | None:
    name, key = reference.get("name", ""), reference.get("key", "")
    obj = facts.objects.get((kind, name))
    if obj is None:
        if reference.get("optional"):
            return None
        raise EnvProblem(f'{kind.lower()} "{name}" not found')
    found = texts(kind, obj)
    if key not in found:
        if reference.get("optional"):
            return None
        namespace = facts.pod["metadata"].get("namespace", "")
        raise EnvProblem(f"couldn't find key {key} in {kind} {namespace}/{name}")
    return found[key]


def texts(kind: str, obj: Object) -> dict[str, str]:
    """The object's values as text."""
    return {key: value.decode("utf-8", "replace") for key, value in contents(kind, obj).items()}


def contents(kind: str, obj: Object) -> dict[str, bytes]:
    """The object's values as bytes: data and binaryData of a ConfigMap, data of a Secret."""
    if kind == "ConfigMap":
        plain = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
        binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
        return plain | binary
    encoded = {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    return encoded | {key: value.encode() for key, value in (obj.get("stringData") or {}).items()}


def field_value(path: str, facts: Facts) -> str:
    """The downward API's fields. Raises EnvProblem for others."""
    meta, spec = facts.pod["metadata"], facts.pod["spec"]
    match = _SUBSCRIPT.match(path)
    if match:
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    simple = {
        "metadata.name": meta.get("name", ""),
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName") or facts.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": facts.host_ip,
        "status.hostIPs": ",".join(one for one in (facts.host_ip, facts.second_host_ip) if one),
        "status.podIP": facts.pod_ip,
        "status.podIPs": ",".join(one for one in (facts.pod_ip, facts.second_pod_ip) if one),
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        entries = meta.get(path.split(".")[1]) or {}
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(entries.items()))
    raise EnvProblem(f"fieldPath {path!r} is not one of the downward API")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def resource_value(reference: Object, container: Object, facts: Facts) -> str:
    """`limits.cpu` and the like, in units of the divisor, rounded up; a missing limit is the node's."""
    if reference.get("containerName"):
        named = [
            entry
            for entry in (facts.pod["spec"].get("initContainers") or []) + facts.pod["spec"]["containers"]
            if entry["name"] == reference["containerName"]
        ]
        if not named:
            raise EnvProblem(f"container {reference['containerName']} not found")
        container = named[0]
    resource = reference.get("resource", "")
    group, _, name = resource.partition(".")
    if group not in ("limits", "requests") or not name:
        raise EnvProblem(f"resource {resource!r} is not limits.* or requests.*")
    found = (container.get("resources") or {}).get(group, {}).get(name)
    if found is not None:
        amount = quantity.parse(str(found))
    elif group == "limits" and name in ("cpu", "memory"):
        amount = quantity.parse(str(facts.node_cpu if name == "cpu" else facts.node_memory_bytes))
    else:
        amount = quantity.parse("0")
    divisor = quantity.parse(str(reference.get("divisor") or "1")) or quantity.parse("1")
    return str(int((amount / divisor).to_integral_value(decimal.ROUND_CEILING)))


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """`NAME_SERVICE_HOST` and the like, Docker's link variables included."""
    found: dict[str, str] = {}
    for service in services:
        address = (service.get("spec") or {}).get("clusterIP")
        ports = (service.get("spec") or {}).get("ports") or []
        if not address or address == "None" or not ports:
            continue
        prefix = service["metadata"]["name"].upper().replace("-", "_")
        found[f"{prefix}_SERVICE_HOST"] = address
        found[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for index, port in enumerate(ports):
            found.update(_port_variables(prefix, address, port, first=index == 0))
    return found


def _port_variables(prefix: str, address: str, port: Object, *, first: bool) -> dict[str, str]:
    protocol = (port.get("protocol") or "TCP").lower()
    host = f"[{address}]" if ":" in address else address
    url = f"{protocol}://{host}:{port['port']}"
    stem = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
    found = {
        stem: url,
        f"{stem}_PROTO": protocol,
        f"{stem}_PORT": str(port["port"]),
        f"{stem}_ADDR": address,
    }
    if port.get("name"):
        found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    if first:
        found[f"{prefix}_PORT"] = url
    return found
