"""What a ReplicaSet wants done: a pure function of the ReplicaSet and its pods.

Follows Kubernetes' `pkg/controller/replicaset`: adoption and release, at most 500 pods a step, deletion by rank, status
with ready and available pods, the ReplicaFailure condition while pods cannot be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds, selectors
from fairlead.controllers import conditions, ownership, pods, writes
from fairlead.controllers.writes import Object

BURST = 500


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`pods` are those of the namespace that match the selector or that the ReplicaSet owns."""

    replica_set: Object
    pods: Sequence[Object]
    now: float
    refused: str = ""  # why the last pod could not be made


def decide(snapshot: Snapshot) -> writes.Decision:
    """Pods to make or delete, and the status."""
    owner = snapshot.replica_set
    selector = selectors.from_object(owner["spec"].get("selector"))
    claim = ownership.claim(kinds.REPLICA_SET, owner, snapshot.pods, of=kinds.POD, selector=selector)
    active = [pod for pod in claim.owned if pods.active(pod)]
    changes: tuple[writes.Write, ...] = claim.writes
    difference = 0
    if "deletionTimestamp" not in owner["metadata"] and not claim.writes:
        difference = _replicas(owner) - len(active)
        changes += _pods_to_change(owner, active, difference, snapshot.now)
    status, again_seconds = _status(snapshot, claim.owned, active, difference)
    update = _status_write(owner, status)
    # Pods first, for speed; but a status that says why pods cannot be made must not wait behind the next refusal.
    return writes.Decision(update + changes if snapshot.refused else changes + update, again_seconds)


def _replicas(owner: Object) -> int:
    return int(owner["spec"].get("replicas", 1))


def _pods_to_change(owner: Object, active: list[Object], difference: int, now: float) -> tuple[writes.Write, ...]:
    if difference == 0:
        return ()
    if difference > 0:
        made = pods.from_template(
            owner["spec"]["template"], owner=owner, reference=ownership.reference(kinds.REPLICA_SET, owner)
        )
        told = writes.Told(
            owner, ("SuccessfulCreate", "Created pod: {name}"), ("FailedCreate", "Error creating: {error}")
        )
        return (writes.Together((writes.Create(kinds.POD, made, told),) * min(difference, BURST)),)
    told = writes.Told(owner, ("SuccessfulDelete", "Deleted pod: {name}"), ("FailedDelete", "Error deleting: {error}"))
    chosen = pods.deletion_order(active, now=now)[: min(-difference, BURST)]
    return (writes.Together(tuple(writes.delete(kinds.POD, pod, told=told) for pod in chosen)),)


def _status(
    snapshot: Snapshot, owned: Sequence[Object], active: list[Object], difference: int
) -> tuple[Object, float | None]:
    owner, old = snapshot.replica_set, snapshot.replica_set.get("status") or {}
    wanted = selectors.from_labels((owner["spec"]["template"].get("metadata") or {}).get("labels"))
    min_ready = float(owner["spec"].get("minReadySeconds", 0))
    waits = [pods.available_in_seconds(pod, min_ready_seconds=min_ready, now=snapshot.now) for pod in active]
    status: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(wanted.matches(pod["metadata"].get("labels")) for pod in active),
        "readyReplicas": sum(wait is not None for wait in waits),
        "availableReplicas": sum(wait == 0.0 for wait in waits),
        "terminatingReplicas": sum(pods.terminating(pod) and not pods.finished(pod) for pod in owned),
        "observedGeneration": owner["metadata"].get("generation", 0),
    }
    found = _conditions(snapshot, old.get("conditions") or [], difference)
    if found:
        status["conditions"] = found
    later = [wait for wait in waits if wait]
    return status, min(later) if later else None


def _conditions(snapshot: Snapshot, old: list[Object], difference: int) -> list[Object]:
    if not snapshot.refused or difference == 0:
        return conditions.without(old, "ReplicaFailure")
    reason = "FailedCreate" if difference > 0 else "FailedDelete"
    if (known := conditions.find({"conditions": old}, "ReplicaFailure")) and known["reason"] == reason:
        return old
    return conditions.put(
        old, type_="ReplicaFailure", status="True", reason=reason, message=snapshot.refused, now=snapshot.now
    )


def _status_write(owner: Object, status: Object) -> tuple[writes.Write, ...]:
    if conditions.same_status(owner.get("status"), status):
        return ()
    return (writes.Update(kinds.REPLICA_SET, {**owner, "status": status}, subresource="status"),)
