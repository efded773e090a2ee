"""What makes a StatefulSet's pod that pod: name, ordinal, labels, hostname, volume claims. Pure."""

from __future__ import annotations

import re

from fairlead.api import kinds
from fairlead.controllers import history, ownership
from fairlead.controllers.writes import Object

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def ordinal_of(owner: Object, pod: Object) -> int | None:
    """The ordinal in the pod's name; None when the name is not of this set."""
    match = re.fullmatch(re.escape(owner["metadata"]["name"]) + r"-(0|[1-9][0-9]*)", pod["metadata"]["name"])
    return int(match[1]) if match else None


def start(owner: Object) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def make_pod(owner: Object, revision: Object, ordinal: int) -> Object:
    """The pod of that ordinal by the template of that revision."""
    template = history.template_of(revision)
    metadata, spec = template.get("metadata") or {}, dict(template["spec"])
    name = f"{owner['metadata']['name']}-{ordinal}"
    spec["hostname"] = name
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    claims = claims_of(owner, ordinal)
    own = [{"name": short, "persistentVolumeClaim": {"claimName": full}} for short, full in claims.items()]
    rest = [volume for volume in spec.get("volumes") or () if volume["name"] not in claims]
    if own or rest:
        spec["volumes"] = [*own, *rest]
    labels = {**(metadata.get("labels") or {}), POD_NAME: name, POD_INDEX: str(ordinal)}
    body: Object = {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": {**labels, history.LABEL: history.name_of(revision)},
        "ownerReferences": [ownership.reference(kinds.STATEFUL_SET, owner)],
    }
    for field in ("annotations", "finalizers"):
        if metadata.get(field):
            body[field] = metadata[field]
    return {"metadata": body, "spec": spec}


def claims_of(owner: Object, ordinal: int) -> dict[str, str]:
    """Template name -> claim name of one pod."""
    name = owner["metadata"]["name"]
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    return {one["metadata"]["name"]: f"{one['metadata']['name']}-{name}-{ordinal}" for one in templates}


def make_claims(owner: Object, ordinal: int) -> list[Object]:
    """The claims of one pod, to be created where they do not exist yet. They outlive the pod, and the set unless its
    retention policy says otherwise."""
    found = []
    selector = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        metadata = template["metadata"]
        body: Object = {
            "name": claims_of(owner, ordinal)[metadata["name"]],
            "namespace": owner["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **selector},
        }
        if metadata.get("annotations"):
            body["annotations"] = metadata["annotations"]
        if _policy(owner, "whenDeleted"):
            body["ownerReferences"] = [_held_by(kinds.STATEFUL_SET, owner)]
        found.append({"metadata": body, "spec": template["spec"]})
    return found


def claim_owners(owner: Object, pod: Object, known: list[Object], *, condemned: bool) -> list[Object]:
    """The owner references that a claim of that pod should have; those of strangers stay."""
    set_uid, pod_uid = owner["metadata"]["uid"], pod["metadata"]["uid"]
    name = pod["metadata"]["name"]
    own = [one for one in known if one["uid"] == set_uid or (one["kind"] == "Pod" and one["name"] == name)]
    wanted: list[tuple[str, Object]] = []
    if _policy(owner, "whenScaled") and condemned:
        wanted.append((pod_uid, _held_by(kinds.POD, pod)))
    elif _policy(owner, "whenDeleted"):
        wanted.append((set_uid, _held_by(kinds.STATEFUL_SET, owner)))
    if [one["uid"] for one in own] == [uid for uid, _ in wanted]:
        return known
    return [one for one in known if one not in own] + [reference for _, reference in wanted]


def _held_by(kind: kinds.Kind, owner: Object) -> Object:
    return {**ownership.reference(kind, owner), "controller": False, "blockOwnerDeletion": False}


def _policy(owner: Object, moment: str) -> bool:
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return bool(policy.get(moment) == "Delete")


def revision_of(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(history.LABEL, ""))
