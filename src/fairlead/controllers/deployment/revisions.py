"""Which ReplicaSet carries which template: hash, name, revision, annotations, history."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.api import kinds
from fairlead.controllers import ownership
from fairlead.controllers.deployment import spec
from fairlead.controllers.writes import Object

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' safe letters: no vowel, nothing that looks like one
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    spec.REVISION,
    spec.REVISION_HISTORY,
    spec.DESIRED,
    spec.MAX,
    "deprecated.deployment.rollback.to",
}


@dataclass(frozen=True, slots=True)
class Sets:
    """A Deployment's ReplicaSets: the one of the present template, if it exists, and the others, oldest first."""

    new: Object | None
    old: tuple[Object, ...]

    @property
    def all(self) -> tuple[Object, ...]:
        return (*self.old, self.new) if self.new is not None else self.old


def sort(deployment: Object, replica_sets: Sequence[Object]) -> Sets:
    """Finds the new ReplicaSet: the oldest whose template is the Deployment's (pod-template-hash aside)."""
    wanted = _bare(deployment["spec"]["template"])
    by_age = sorted(replica_sets, key=spec.by_age)
    new = next((found for found in by_age if _bare(found["spec"]["template"]) == wanted), None)
    return Sets(new, tuple(found for found in by_age if found is not new))


def _bare(template: Object) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {name: text for name, text in (metadata.get("labels") or {}).items() if name != spec.HASH}
    metadata.pop("creationTimestamp", None)
    return {**template, "metadata": {**metadata, "labels": labels}}


def template_hash(template: Object, collisions: int) -> str:
    """Ten letters that name a template; another ten for each collision met."""
    text = msgspec.json.encode(_bare(template), order="deterministic") + (b"%d" % collisions if collisions else b"")
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    letters = []
    for _ in range(10):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def name_of(deployment: Object) -> tuple[str, str]:
    """(name, hash) of the ReplicaSet for the present template."""
    collisions = int((deployment.get("status") or {}).get("collisionCount") or 0)
    found = template_hash(deployment["spec"]["template"], collisions)
    return f"{deployment['metadata']['name']}-{found}", found


def make(deployment: Object, sets: Sets, *, replicas: int) -> Object:
    """The ReplicaSet of the present template, to be created."""
    name, found = name_of(deployment)
    template = deployment["spec"]["template"]
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), spec.HASH: found}
    selector = deployment["spec"].get("selector") or {}
    matching = {**(selector.get("matchLabels") or {}), spec.HASH: found}
    made: Object = {
        "metadata": {
            "name": name,
            "namespace": deployment["metadata"]["namespace"],
            "labels": labels,
            "annotations": {**annotations_for(deployment, {}, next_revision(sets)), **sizes(deployment)},
            "ownerReferences": [ownership.reference(kinds.DEPLOYMENT, deployment)],
        },
        "spec": {
            "replicas": replicas,
            "selector": {**selector, "matchLabels": matching},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }
    if deployment["spec"].get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
    return made


def next_revision(sets: Sets) -> int:
    return max((spec.revision(found) for found in sets.old), default=0) + 1


def annotations_for(deployment: Object, present: dict[str, str], revision: int) -> dict[str, str]:
    """A ReplicaSet's annotations: the Deployment's, and the revision with its history."""
    given = deployment["metadata"].get("annotations") or {}
    found = {**present, **{name: text for name, text in given.items() if name not in _NOT_COPIED}}
    before = present.get(spec.REVISION, "0")
    if not before.isdigit() or int(before) < revision:
        found[spec.REVISION] = str(revision)
        if before != "0":
            history = [part for part in present.get(spec.REVISION_HISTORY, "").split(",") if part]
            found[spec.REVISION_HISTORY] = ",".join([*history, before])
    return found


def sizes(deployment: Object) -> dict[str, str]:
    """What the Deployment wanted when it last scaled a ReplicaSet; proportional scaling goes by it."""
    wanted = spec.replicas(deployment)
    return {spec.DESIRED: str(wanted), spec.MAX: str(wanted + spec.max_surge(deployment))}


def expired(deployment: Object, sets: Sets) -> list[Object]:
    """Old ReplicaSets past `revisionHistoryLimit`: the lowest revisions that are empty and settled."""
    limit = spec.history_limit(deployment)
    alive = [found for found in sets.old if "deletionTimestamp" not in found["metadata"]]
    if limit is None or len(alive) <= limit:
        return []
    lowest = sorted(alive, key=lambda found: (spec.revision(found), spec.by_age(found)))[: len(alive) - limit]
    return [found for found in lowest if _settled(found)]


def _settled(found: Object) -> bool:
    generation: Any = found["metadata"].get("generation", 0)
    empty = spec.replicas(found) == 0 and spec.observed(found, "replicas") == 0
    return empty and generation <= spec.observed(found, "observedGeneration")
