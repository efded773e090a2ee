"""What a Deployment wants done: a pure function of the Deployment, its ReplicaSets and, for Recreate, their pods.

Follows Kubernetes' `pkg/controller/deployment`. One decision holds the next step only: the new ReplicaSet grows, or the
old ones shrink; the watch brings the next. Every intermediate state is safe to stop at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds, selectors
from fairlead.controllers import conditions, ownership, pods, writes
from fairlead.controllers.deployment import revisions, scaling, spec
from fairlead.controllers.deployment import status as statuses
from fairlead.controllers.writes import Object


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`replica_sets` are all of the namespace; `pods` those that the Deployment's ReplicaSets control."""

    deployment: Object
    replica_sets: Sequence[Object]
    pods: Sequence[Object]
    now: float


def decide(snapshot: Snapshot) -> writes.Decision:
    """The next step of the roll, scale or clean-up, and the status."""
    deployment = snapshot.deployment
    selector = selectors.from_object(deployment["spec"].get("selector"))
    if selector.empty:
        text = "This deployment is selecting all pods. A non-empty selector is required."
        return writes.Decision((writes.Note(deployment, "Warning", "SelectingAll", text),))
    claim = ownership.claim(
        kinds.DEPLOYMENT, deployment, snapshot.replica_sets, of=kinds.REPLICA_SET, selector=selector
    )
    if claim.writes:
        return writes.Decision(claim.writes)
    sets = revisions.sort(deployment, claim.owned)
    if "deletionTimestamp" in deployment["metadata"]:
        return _with_status(snapshot, sets, (), "")
    return _step(snapshot, sets)


def _step(snapshot: Snapshot, sets: revisions.Sets) -> writes.Decision:
    deployment = snapshot.deployment
    if changed := _adopted_revision(deployment, sets):
        return writes.Decision(changed)
    if spec.paused(deployment) or scaling.scaled_since(deployment, sets):
        scales = scaling.in_proportion(deployment, sets)
        return _with_status(snapshot, sets, _resized(deployment, sets, scales), "")
    if sets.new is None:
        return _make_new(snapshot, sets)
    scales = _roll(snapshot, sets)
    if scales:
        return _with_status(snapshot, sets, _scale(deployment, sets, scales), "")
    done = spec.complete(deployment, statuses.compute(deployment, sets, now=snapshot.now))
    cleanup = [writes.delete(kinds.REPLICA_SET, old) for old in revisions.expired(deployment, sets)] if done else []
    return _with_status(snapshot, sets, tuple(cleanup), "")


def _roll(snapshot: Snapshot, sets: revisions.Sets) -> scaling.Scales:
    deployment = snapshot.deployment
    if not spec.rolling(deployment):
        if emptied := scaling.empty(sets.old):
            return emptied
        return {} if _old_pods_run(snapshot, sets) else scaling.roll_up(deployment, sets)
    return scaling.roll_up(deployment, sets) or scaling.roll_down(deployment, sets)


def _old_pods_run(snapshot: Snapshot, sets: revisions.Sets) -> bool:
    new_uid = sets.new["metadata"]["uid"] if sets.new is not None else ""
    for pod in snapshot.pods:
        owner = ownership.controller_of(pod)
        if owner is not None and owner["uid"] != new_uid and not pods.finished(pod):
            return True
    return False


def _make_new(snapshot: Snapshot, sets: revisions.Sets) -> writes.Decision:
    deployment = snapshot.deployment
    if not spec.rolling(deployment):
        if emptied := scaling.empty(sets.old):
            return _with_status(snapshot, sets, _scale(deployment, sets, emptied), "")
        if _old_pods_run(snapshot, sets):
            return _with_status(snapshot, sets, (), "")
    name, _ = revisions.name_of(deployment)
    if any(found["metadata"]["name"] == name for found in snapshot.replica_sets):
        return _collided(deployment)
    size = scaling.new_replicas(deployment, sets)
    made = revisions.make(deployment, sets, replicas=size)
    success = ("ScalingReplicaSet", f"Scaled up replica set {{name}} from 0 to {size}") if size else None
    told = writes.Told(
        deployment, success, ("ReplicaSetCreateError", f'Failed to create new replica set "{name}": {{error}}')
    )
    create = writes.Create(kinds.REPLICA_SET, made, told)
    return _with_status(snapshot, sets, (create,), name)


def _collided(deployment: Object) -> writes.Decision:
    """Another template of the same hash, or a foreign ReplicaSet of that name: the next hash is another one."""
    status: Object = dict(deployment.get("status") or {})
    status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
    return writes.Decision((writes.Update(kinds.DEPLOYMENT, {**deployment, "status": status}, "status"),))


def _adopted_revision(deployment: Object, sets: revisions.Sets) -> tuple[writes.Write, ...]:
    """A new ReplicaSet that existed before (a rollback) gets the next revision; then the Deployment shows it."""
    if sets.new is None:
        return ()
    present = sets.new["metadata"].get("annotations") or {}
    wanted = revisions.annotations_for(deployment, present, revisions.next_revision(sets))
    min_ready = deployment["spec"].get("minReadySeconds") or 0
    if wanted != present or (sets.new["spec"].get("minReadySeconds") or 0) != min_ready:
        body = {
            **sets.new,
            "metadata": {**sets.new["metadata"], "annotations": wanted},
            "spec": {**sets.new["spec"], "minReadySeconds": min_ready},
        }
        return (writes.Update(kinds.REPLICA_SET, body),)
    if (deployment["metadata"].get("annotations") or {}).get(spec.REVISION) != wanted[spec.REVISION]:
        patch = {"metadata": {"annotations": {spec.REVISION: wanted[spec.REVISION]}}}
        return (writes.patch_of(kinds.DEPLOYMENT, deployment, patch),)
    return ()


def _scale(deployment: Object, sets: revisions.Sets, scales: scaling.Scales) -> tuple[writes.Write, ...]:
    return tuple(_scale_one(deployment, found, scales[found["metadata"]["name"]])
                 for found in sets.all if found["metadata"]["name"] in scales)  # fmt: skip


def _scale_one(deployment: Object, found: Object, size: int) -> writes.Update:
    before = spec.replicas(found)
    metadata = found["metadata"]
    annotations = {**(metadata.get("annotations") or {}), **revisions.sizes(deployment)}
    body = {
        **found,
        "metadata": {**metadata, "annotations": annotations},
        "spec": {**found["spec"], "replicas": size},
    }
    told = None
    if size != before:
        direction = "up" if size > before else "down"
        text = f"Scaled {direction} replica set {metadata['name']} from {before} to {size}"
        told = writes.Told(deployment, ("ScalingReplicaSet", text))
    return writes.Update(kinds.REPLICA_SET, body, told=told)


def _resized(deployment: Object, sets: revisions.Sets, scales: scaling.Scales) -> tuple[writes.Write, ...]:
    """Scales, and notes the Deployment's size on every active ReplicaSet so that the change counts once."""
    wanted = revisions.sizes(deployment)
    found: list[writes.Write] = []
    for one in sets.all:
        size = scales.get(one["metadata"]["name"], spec.replicas(one))
        known = one["metadata"].get("annotations") or {}
        stale = any(known.get(name) != text for name, text in wanted.items())
        if size != spec.replicas(one) or (stale and spec.replicas(one) > 0):
            found.append(_scale_one(deployment, one, size))
    return tuple(found)


def _with_status(
    snapshot: Snapshot, sets: revisions.Sets, changes: tuple[writes.Write, ...], made: str
) -> writes.Decision:
    deployment = snapshot.deployment
    status = statuses.compute(deployment, sets, now=snapshot.now, made=made)
    if not conditions.same_status(deployment.get("status"), status):
        changes = (*changes, writes.Update(kinds.DEPLOYMENT, {**deployment, "status": status}, "status"))
    return writes.Decision(changes, statuses.check_again_seconds(deployment, status, snapshot.now))
