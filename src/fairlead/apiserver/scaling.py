"""The scale subresource: `autoscaling/v1` Scale of Deployments, ReplicaSets, StatefulSets and custom resources."""

from __future__ import annotations

import copy
from typing import Any

from fairlead.api import field_errors, selectors
from fairlead.api.kinds import Kind
from fairlead.apiserver import codec, patching, requests, resources, status
from fairlead.apiserver.behaviours import base

Object = dict[str, Any]
KIND = Kind("autoscaling", "v1", "Scale", "scales")
RESOURCE = resources.Resource(KIND, KIND, base.Behaviour(), definition="io.k8s.api.autoscaling.v1.Scale")


def scale_of(obj: Object, resource: resources.Resource) -> Object:
    """The Scale that shows an object."""
    paths = resource.scale
    metadata = {
        field: obj["metadata"][field]
        for field in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if field in obj["metadata"]
    }
    replicas = dig(obj, paths.spec if paths else ".spec.replicas") or 0
    state: Object = {"replicas": dig(obj, paths.status if paths else ".status.replicas") or 0}
    if selector := _selector(obj, resource):
        state["selector"] = selector
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": state}


def _selector(obj: Object, resource: resources.Resource) -> str:
    if resource.scale is not None:
        return str(dig(obj, resource.scale.selector) or "") if resource.scale.selector else ""
    selector = (obj.get("spec") or {}).get("selector")
    return str(selectors.from_object(selector)) if selector else ""


def changed(obj: Object, info: requests.Info, resource: resources.Resource) -> Object:
    """A copy of the object with the replicas that the request's Scale, or patch of it, asks for."""
    before = scale_of(obj, resource)
    if info.verb == "update":
        wanted = codec.shaped(codec.parse(info.body, info.headers.get("content-type", "")), info, _scale())
    else:
        wanted = patching.patched(before, info, _scale())
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        problem = field_errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.invalid(KIND, info.name, [problem])
    version = (wanted.get("metadata") or {}).get("resourceVersion", "")
    if version and version != obj["metadata"]["resourceVersion"]:
        raise status.conflict(resource.kind, info.name)
    result = copy.deepcopy(obj)
    bury(result, resource.scale.spec if resource.scale else ".spec.replicas", replicas)
    return result


def _scale() -> resources.Resource:
    if RESOURCE.schema is None:
        from fairlead.api.schema import pack

        RESOURCE.schema = pack.definitions()[RESOURCE.definition]
    return RESOURCE


def dig(obj: Any, path: str) -> Any:
    """The value at a path such as `.spec.replicas`; None when there is none."""
    for part in path.strip(".").split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def bury(obj: Object, path: str, value: Any) -> None:
    """Sets the value at a path, making what is missing on the way."""
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value
