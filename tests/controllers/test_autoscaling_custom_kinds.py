"""An HPA scales a custom kind by its scale subresource, from the moment that its definition is there."""

from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.controllers import conditions

from .test_with_the_real_apiserver import Cluster, cluster

__all__ = ["cluster"]
Object = dict[str, Any]
FLEET = kinds.Kind("example.com", "v1", "Fleet", "fleets", subresources=("status", "scale"))


def definition(*, selector: str = ".status.selector") -> Object:
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    if selector:
        scale["labelSelectorPath"] = selector
    fields = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                    "status": fields,
                },
            }
        },
        "subresources": {"status": {}, "scale": scale},
    }
    names = {"plural": "fleets", "singular": "fleet", "kind": "Fleet"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "fleets.example.com"}, "spec": spec}


def hpa(**spec: Any) -> Object:
    target = {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "f"}
    return {"metadata": {"name": "f"}, "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 9, **spec}}


async def condition(cluster: Cluster, type_: str) -> tuple[str, str]:
    found = conditions.find(await cluster.client.get(kinds.HPA, "f", namespace="default"), type_)
    return (found["status"], found["reason"]) if found else ("", "")


@pytest.mark.timeout(60)
async def test_a_custom_kind_is_scaled_by_its_scale(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(kinds.HPA, hpa(), namespace="default")

    async def is_(type_: str, reason: str) -> bool:
        return (await condition(cluster, type_))[1] == reason

    await cluster.until(lambda: is_("AbleToScale", "FailedGetScale"))
    await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    await client.create(FLEET, {"metadata": {"name": "f"}, "spec": {"size": 1}}, namespace="default")
    await cluster.until(lambda: is_("ScalingActive", "InvalidSelector"))
    status = {"status": {"size": 1, "selector": "app=fleet"}}
    await client.patch(FLEET, "f", status, namespace="default", subresource="status")

    async def size() -> bool:
        return bool((await client.get(FLEET, "f", namespace="default"))["spec"]["size"] == 3)

    async def told() -> bool:
        events = [one["message"] for one in (await client.list(kinds.EVENT, namespace="default")).items]
        return any("New size: 3; reason: Current number of replicas below Spec.MinReplicas" in text for text in events)

    await cluster.until(size)
    await cluster.until(told)
