"""Actions on pods that are no reads or writes of them: eviction (disruption budgets decide) and binding to a node.

Follows k8s.io/kubernetes `pkg/registry/core/pod/storage` (EvictionREST, BindingREST).
"""

from __future__ import annotations

from typing import Any

from fairlead.api import selectors
from fairlead.api.kinds import POD, POD_DISRUPTION_BUDGET
from fairlead.apiserver import codec, delete, read, requests, resources, status, write
from fairlead.apiserver.around import Around
from fairlead.base import clock as clocks
from fairlead.client import errors, exchange
from fairlead.store import protocol

Object = dict[str, Any]
_BUDGETS = str(POD_DISRUPTION_BUDGET)


def _body(info: requests.Info, kind: str) -> Object:
    body = codec.parse(info.body, info.headers.get("content-type", "")) if info.body else {}
    if not isinstance(body, dict) or body.get("kind", kind) != kind:
        raise status.bad_request(f"the object provided is unrecognized (must be of type {kind})")
    name = (body.get("metadata") or {}).get("name", info.name)
    if name != info.name:
        raise status.bad_request(f"the name of the object ({name}) does not match the name on the URL ({info.name})")
    return body


async def bind(
    info: requests.Info, resource: resources.Resource, around: Around, writer: write.Writer
) -> exchange.Response:
    """Puts a pod on a node. Raises ApiError 409 when it is on one."""
    body = _body(info, "Binding")
    target = body.get("target") or {}
    if target.get("kind", "Node") != "Node" or not target.get("name"):
        raise status.bad_request("target.name: a Node must be named")
    entry, pod = writer.current(info, resource)
    node = pod["spec"].get("nodeName")
    if node:
        raise status.conflict(POD, info.name, f'pod {info.name} is already assigned to node "{node}"')
    pod["spec"]["nodeName"] = target["name"]
    if not around.dry_run:
        await writer.replace(pod, entry, resource)
    answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return exchange.Response(201, read.JSON, codec.encode(answer))


async def evict(
    store: protocol.Store, info: requests.Info, resource: resources.Resource, around: Around, writer: write.Writer
) -> exchange.Response:
    """Deletes a pod if its disruption budget allows. Raises ApiError 429 when it does not."""
    body = _body(info, "Eviction")
    _, pod = writer.current(info, resource)
    info.body = codec.encode(body.get("deleteOptions") or {})
    info.headers = {**info.headers, "content-type": "application/json"}
    if not _ended(pod) and (pod.get("status") or {}).get("phase") != "Pending":
        await _spend_budget(store, pod, around)
    if not around.dry_run:
        await _mark_disrupted(info, resource, around, writer)
    await delete.delete(store, info, resource, around, writer)
    answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return exchange.Response(201, read.JSON, codec.encode(answer))


async def _mark_disrupted(
    info: requests.Info, resource: resources.Resource, around: Around, writer: write.Writer
) -> None:
    """The condition DisruptionTarget, by which Jobs know that the failure is not the pod's own (KEP-3329)."""
    entry, pod = writer.current(info, resource)
    conditions = (pod.setdefault("status", {})).setdefault("conditions", [])
    if any(one["type"] == "DisruptionTarget" for one in conditions):
        return
    conditions.append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastTransitionTime": clocks.rfc3339(around.now()),
        }
    )
    await writer.replace(pod, entry, resource)


def _ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def _spend_budget(store: protocol.Store, pod: Object, around: Around) -> None:
    metadata = pod["metadata"]
    found = []
    for entry in store.page(f"{_BUDGETS}/{metadata['namespace']}/").entries:
        budget = codec.decode(entry.value)
        if selectors.from_object((budget.get("spec") or {}).get("selector")).matches(metadata.get("labels")):
            found.append((entry, budget))
    if not found:
        return
    if len(found) > 1:
        raise status.failure(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )
    entry, budget = found[0]
    state = budget.setdefault("status", {})
    if not _ready(pod) and budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return
    if not _ready(pod) and state.get("currentHealthy", 0) >= state.get("desiredHealthy", 1) > 0:
        return
    if state.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refused("The disruption budget has not been processed by the server yet.", budget, seconds=10)
    if state.get("disruptionsAllowed", 0) <= 0:
        text = (
            f"The disruption budget {budget['metadata']['name']} needs {state.get('desiredHealthy', 0)} "
            f"healthy pods and has {state.get('currentHealthy', 0)} currently"
        )
        raise _refused(text, budget, seconds=0)
    if around.dry_run:
        return
    state["disruptionsAllowed"] -= 1
    state.setdefault("disruptedPods", {})[metadata["name"]] = clocks.rfc3339(around.now())
    await store.write(entry.key, write.encoder(budget), expected=entry.revision)


def _refused(text: str, budget: Object, *, seconds: int) -> errors.ApiError:
    cause = {"reason": "DisruptionBudget", "message": text}
    details: Object = {"causes": [cause]}
    if seconds:
        details["retryAfterSeconds"] = seconds
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return status.failure(429, "TooManyRequests", message, details=details)
