"""Pods: defaults, placement on the only node, graceful deletion, what may change afterwards."""

from __future__ import annotations

from typing import Any

from fairlead.api import selectors
from fairlead.api.defaults import pods as defaults
from fairlead.api.validation import pods as validation
from fairlead.apiserver import status
from fairlead.apiserver.behaviours import accounts, base
from fairlead.base import clock as clocks

Object = dict[str, Any]
_QOS_RESOURCES = ("cpu", "memory")


class Pods(base.Behaviour):
    """`pkg/registry/core/pod/strategy.go` and the admission plugins that touch pods."""

    generation = ("spec",)
    graceful = True
    field_labels = (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    )

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if spec is not None:
            defaults.default_pod_spec(spec)
            spec.setdefault("enableServiceLinks", True)

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        spec = obj.get("spec")
        if spec is None:
            return
        accounts.admit(obj, around)
        _priority(spec, around)
        _tolerations(spec)
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
        place(obj, around)

    def admit_update(self, obj: Object, old: Object, around: base.Surroundings) -> None:
        if (old.get("spec") or {}).get("schedulingGates") and obj.get("spec") is not None:
            place(obj, around)

    def validate(self, obj: Object) -> base.Problems:
        return validation.validate_pod(obj)

    def validate_update(self, obj: Object, old: Object) -> base.Problems:
        return validation.validate_pod_update(obj, old)

    def grace_seconds(self, obj: Object, asked: int | None) -> int | None:
        spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        if asked is not None:
            return asked
        own = obj["metadata"].get("deletionGracePeriodSeconds")
        return int(own if own is not None else spec.get("terminationGracePeriodSeconds", 30))


def _priority(spec: Object, around: base.Surroundings) -> None:
    name = spec.get("priorityClassName")
    if not name:
        spec.setdefault("priority", 0)
    elif (found := around.get("priorityclasses.scheduling.k8s.io", "", name)) is not None:
        spec["priority"] = found.get("value", 0)
    else:
        from fairlead.api import kinds

        raise status.forbidden(kinds.POD, "", f"no PriorityClass with name {name} was found")
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _tolerations(spec: Object) -> None:
    """DefaultTolerationSeconds: five minutes on a node that is not ready or not reachable."""
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            one.get("key") in (key, None, "") and one.get("effect") in ("NoExecute", None, "") for one in tolerations
        ):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort (`pkg/apis/core/v1/helper/qos`)."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    guaranteed, any_set = True, False
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in _QOS_RESOURCES:
            any_set = any_set or name in requests or name in limits
            guaranteed = guaranteed and name in limits and requests.get(name, limits[name]) == limits[name]
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed and containers else "Burstable"


def place(obj: Object, around: base.Surroundings) -> bool:
    """Puts a pod that has no node yet on the only one, or says in its condition why not, as the scheduler does. True
    when the pod is another one now."""
    spec, reason = obj["spec"], "SchedulingGated"
    if spec.get("nodeName"):
        return False
    message = "Scheduling is blocked due to non-empty scheduling gates" if spec.get("schedulingGates") else ""
    if not message:
        if not (why := _unfit(spec, around)):
            spec["nodeName"] = around.node_name
            return True
        reason, message = "Unschedulable", f"0/1 nodes are available: {why}."
    known = (obj.get("status") or {}).get("conditions") or []
    if any((one["type"], one.get("message")) == ("PodScheduled", message) for one in known):
        return False
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": clocks.rfc3339(around.now()),
    }
    others = [one for one in known if one["type"] != "PodScheduled"]
    obj["status"] = {**(obj.get("status") or {}), "conditions": [*others, condition]}
    return True


def _unfit(spec: Object, around: base.Surroundings) -> str:
    """Why the only node does not take the pod (labels, affinity, taints, cordoned), in the scheduler's words, or ""."""
    if not around.node_name:
        return "there is no node"
    node = around.get("nodes", "", around.node_name)
    labels = {"kubernetes.io/hostname": around.node_name} if node is None else node["metadata"].get("labels") or {}
    mismatch = "1 node(s) didn't match Pod's node affinity/selector"
    if not selectors.from_labels(spec.get("nodeSelector")).matches(labels):
        return mismatch
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity is not None and not _affinity_matches(affinity, labels, around.node_name):
        return mismatch
    for taint in ((node or {}).get("spec") or {}).get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not _tolerated(taint, spec.get("tolerations") or ()):
            if taint["key"] == "node.kubernetes.io/unschedulable":
                return "1 node(s) were unschedulable"
            return f"1 node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    return ""


def _affinity_matches(affinity: Object, labels: dict[str, str], name: str) -> bool:
    for term in affinity.get("nodeSelectorTerms") or ():
        expressions = {"matchExpressions": term.get("matchExpressions") or []}
        fields = {"matchExpressions": term.get("matchFields") or []}
        if not term.get("matchExpressions") and not term.get("matchFields"):
            continue
        if selectors.from_object(expressions).matches(labels) and selectors.from_object(fields).matches(
            {"metadata.name": name}
        ):
            return True
    return False


def _tolerated(taint: Object, tolerations: Any) -> bool:
    for one in tolerations:
        if one.get("effect") and one["effect"] != taint["effect"]:
            continue
        if one.get("key") and one["key"] != taint["key"]:
            continue
        if one.get("operator", "Equal") == "Exists" or one.get("value", "") == taint.get("value", ""):
            return True
    return False
