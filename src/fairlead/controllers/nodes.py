"""Whether a pod may run on a node: nodeSelector, required node affinity, taints and tolerations. Pure.

Follows Kubernetes' `component-helpers/scheduling/corev1` and `v1helper.TolerationsTolerateTaint`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.api import selectors
from fairlead.controllers.writes import Object

_EFFECTS = ("NoSchedule", "NoExecute")


def name_of(node: Object) -> str:
    return str(node["metadata"]["name"])


def matches(spec: Mapping[str, Any], node: Object) -> bool:
    """The node is one that the pod asks for."""
    labels = node["metadata"].get("labels") or {}
    wanted = spec.get("nodeSelector") or {}
    if any(labels.get(name) != text for name, text in wanted.items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    return any(_term(term, labels, name_of(node)) for term in affinity.get("nodeSelectorTerms") or ())


def _term(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    by_label = selectors.from_object({"matchExpressions": expressions}).matches(labels)
    return by_label and selectors.from_object({"matchExpressions": fields}).matches({"metadata.name": name})


def tolerates(tolerations: Sequence[Mapping[str, Any]], node: Object, *, effects: Sequence[str] = _EFFECTS) -> bool:
    """No taint with one of those effects keeps the pod away."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return all(
        any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in taints
        if taint.get("effect") in effects
    )


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")
