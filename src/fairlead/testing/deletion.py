"""How Kubernetes deletes: grace, finalizers, propagation policies, as pure functions of the fake API server."""

from __future__ import annotations

from typing import Any

from fairlead.api import kinds
from fairlead.base import clock as clocks

Object = dict[str, Any]
_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


def mark(kind: kinds.Kind, current: Object, options: Object, *, now: float) -> Object:
    """The object with its deletion asked for; nothing else changes when that was so before, except a shorter grace."""
    metadata = dict(current["metadata"])
    policy = options.get("propagationPolicy", "")
    finalizers = [name for name in metadata.get("finalizers") or () if name not in _FINALIZERS.values()]
    if policy in _FINALIZERS:
        finalizers.append(_FINALIZERS[policy])
    elif not policy:
        finalizers = list(metadata.get("finalizers") or ())
    grace = _grace_seconds(kind, current, options)
    if "deletionTimestamp" in metadata:
        grace = min(grace, metadata["deletionGracePeriodSeconds"])
    if "deletionTimestamp" not in metadata or grace < metadata["deletionGracePeriodSeconds"]:
        metadata["deletionTimestamp"] = clocks.rfc3339(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
    metadata.pop("finalizers", None)
    if finalizers:
        metadata["finalizers"] = finalizers
    marked = {**current, "metadata": metadata}
    if kind == kinds.NAMESPACE:
        marked["status"] = {**current.get("status", {}), "phase": "Terminating"}
    return marked


def _grace_seconds(kind: kinds.Kind, obj: Object, options: Object) -> int:
    phase = (obj.get("status") or {}).get("phase")
    if kind != kinds.POD or not obj.get("spec", {}).get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    asked = options.get("gracePeriodSeconds")
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def finished(kind: kinds.Kind, obj: Object) -> bool:
    """Nothing holds the object any more: it is to be removed."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if kind == kinds.NAMESPACE and obj.get("spec", {}).get("finalizers"):
        return False
    return int(metadata.get("deletionGracePeriodSeconds", 0)) == 0
