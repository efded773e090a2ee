"""Kinds that are served in a second version: how the stored form becomes that version and back.

autoscaling/v1 HorizontalPodAutoscaler (stored as v2; what v1 cannot say is kept in the annotations that Kubernetes
uses) and events.k8s.io/v1 Event (stored as core v1).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairlead.api import kinds
from fairlead.api.kinds import Kind

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversion:
    """Between one served version and the stored one. Both directions return a new object."""

    stored: Kind
    from_stored: Callable[[Object], Object]
    to_stored: Callable[[Object], Object]


_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"


def _is_cpu(metric: Object) -> bool:
    target = metric.get("resource", {}).get("target", {})
    return (
        metric.get("type") == "Resource" and metric["resource"].get("name") == "cpu" and "averageUtilization" in target
    )


def hpa_to_v1(obj: Object) -> Object:
    """v2 -> v1."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = {**obj["metadata"], "annotations": dict(obj["metadata"].get("annotations") or {})}
    metrics = spec.pop("metrics", None) or []
    cpu = next((metric for metric in metrics if _is_cpu(metric)), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
    if others := [metric for metric in metrics if metric is not cpu]:
        metadata["annotations"][_METRICS] = json.dumps(others)
    if behavior := spec.pop("behavior", None):
        metadata["annotations"][_BEHAVIOR] = json.dumps(behavior)
    if conditions := status.pop("conditions", None):
        metadata["annotations"][_CONDITIONS] = json.dumps(conditions)
    current = next(
        (m for m in status.pop("currentMetrics", None) or [] if m.get("resource", {}).get("name") == "cpu"), None
    )
    if current and "averageUtilization" in current["resource"].get("current", {}):
        status["currentCPUUtilizationPercentage"] = current["resource"]["current"]["averageUtilization"]
    if not metadata["annotations"]:
        del metadata["annotations"]
    return {**obj, "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def hpa_to_v2(obj: Object) -> Object:
    """v1 -> v2."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = {**(obj.get("metadata") or {})}
    annotations = dict(metadata.get("annotations") or {})
    metrics = []
    percentage = spec.pop("targetCPUUtilizationPercentage", None)
    if percentage is not None:
        target = {"type": "Utilization", "averageUtilization": percentage}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    metrics += _loads(annotations.pop(_METRICS, ""), [])
    if metrics:
        spec["metrics"] = metrics
    if behavior := _loads(annotations.pop(_BEHAVIOR, ""), None):
        spec["behavior"] = behavior
    if conditions := _loads(annotations.pop(_CONDITIONS, ""), None):
        status["conditions"] = conditions
    utilization = status.pop("currentCPUUtilizationPercentage", None)
    if utilization is not None:
        current = {"name": "cpu", "current": {"averageUtilization": utilization}}
        status["currentMetrics"] = [{"type": "Resource", "resource": current}]
    metadata["annotations"] = annotations
    if not annotations:
        del metadata["annotations"]
    return {**obj, "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec, "status": status}


def _loads(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text) if text else otherwise
    except ValueError:
        return otherwise


_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {new: old for old, new in _RENAMED.items()}


def event_to_new(obj: Object) -> Object:
    """core v1 -> events.k8s.io/v1."""
    return {_RENAMED.get(key, key): value for key, value in obj.items()} | {"apiVersion": "events.k8s.io/v1"}


def event_to_core(obj: Object) -> Object:
    """events.k8s.io/v1 -> core v1."""
    return {_BACK.get(key, key): value for key, value in obj.items()} | {"apiVersion": "v1"}


CONVERSIONS: dict[tuple[str, str, str], Conversion] = {
    ("autoscaling", "v1", "horizontalpodautoscalers"): Conversion(kinds.HPA, hpa_to_v1, hpa_to_v2),
    ("events.k8s.io", "v1", "events"): Conversion(kinds.EVENT, event_to_new, event_to_core),
}
