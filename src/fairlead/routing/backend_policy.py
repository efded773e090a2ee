"""BackendPolicy (fairlead.dev/v1alpha1): how a Service's or an Ingress's Backends are balanced, in its long form.

Attached with `targetRefs` as Gateway API policies are (GEP-713, GEP-2648): in its own namespace, to a Service (or one
port of it, `sectionName`, which goes before the whole) or to an Ingress (for its Backends alone). Of two policies for
one target the oldest has it, the other is `Conflicted`. An annotation `fairlead.dev/*` of the target goes before a
policy's field. Every policy gets `status.ancestors`, one for each target, with the condition `Accepted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.routing import draft, policy_fields
from fairlead.routing.attachments import Target

Object = dict[str, Any]
KIND = "BackendPolicy"
CONTROLLER = "fairlead.dev/backend-policy"
_TARGETS = {("", "Service"): "Service", ("networking.k8s.io", "Ingress"): "Ingress"}


def process(work: draft.Draft) -> None:
    """Attaches all policies of the snapshot, oldest first, and says of each whether it is in effect."""
    owners: dict[Target, str] = {}
    policies = sorted(work.snapshot.backend_policies, key=draft.age)
    targets = {"Service": work.snapshot.services, "Ingress": work.snapshot.ingresses} if policies else {}
    found = {kind: draft.by_key(objects) for kind, objects in targets.items()}
    for one in policies:
        _attach(work, one, owners, found)


def _attach(
    work: draft.Draft, one: Object, owners: dict[Target, str], found: Mapping[str, Mapping[str, Object]]
) -> None:
    meta = one["metadata"]
    name, namespace = f"{KIND}/{draft.key(one)}", meta.get("namespace", "")
    spec = one.get("spec") or {}
    fields, mistake = _fields(spec)
    ancestors = []
    for index, ref in enumerate(spec.get("targetRefs") or ()):
        path = f"spec.targetRefs[{index}]"
        target, reason, message = _target(found, ref, namespace)
        if target is not None and mistake is not None:
            reason, path, message = "Invalid", f"spec.{mistake.path}", str(mistake)
        elif target is not None and owners.setdefault(target, name) != name:
            reason, message = "Conflicted", f"{owners[target]} is for the same target, and older"
        elif target is not None:
            work.attached.fields[target] = fields
        if reason:
            work.problem(name, path, reason, message)
        ancestors.append(_ancestor(ref, namespace, reason, message, generation=meta.get("generation")))
    work.statuses.append(draft.Status(KIND, namespace, meta["name"], {"ancestors": ancestors}))


def _fields(spec: Object) -> tuple[dict[str, Any], policy_fields.FieldError | None]:
    try:
        return policy_fields.parse({key: value for key, value in spec.items() if key != "targetRefs"}), None
    except policy_fields.FieldError as error:
        return {}, error


def _target(targets: Mapping[str, Mapping[str, Object]], ref: Object, namespace: str) -> tuple[Target | None, str, str]:
    group, kind, name = str(ref.get("group") or ""), str(ref.get("kind") or ""), str(ref.get("name") or "")
    section = str(ref.get("sectionName") or "")
    known = _TARGETS.get((group, kind))
    if known is None:
        return None, "Invalid", f"{group}/{kind} is not a target; use a Service or an Ingress"
    found = targets[known].get(f"{namespace}/{name}")
    if found is None:
        return None, "TargetNotFound", f"there is no {known} {namespace}/{name}"
    if section:
        ports = (found.get("spec") or {}).get("ports") or ()
        if known != "Service" or section not in {str(port.get("name") or port["port"]) for port in ports}:
            return None, "TargetNotFound", f"{known} {namespace}/{name} has no port {section!r}"
    return Target(known, namespace, name, section), "", ""


def _ancestor(ref: Object, namespace: str, reason: str, message: str, *, generation: int | None) -> Object:
    named = {key: ref[key] for key in ("group", "kind", "name", "sectionName") if ref.get(key)}
    condition: Object = {
        "type": "Accepted",
        "status": "False" if reason else "True",
        "reason": reason or "Accepted",
        "message": message or "the policy is in effect",
    }
    if generation is not None:
        condition["observedGeneration"] = generation
    return {"ancestorRef": {**named, "namespace": namespace}, "controllerName": CONTROLLER, "conditions": [condition]}
