"""What a StatefulSet wants done: a pure function of the set, its pods, claims and revisions.

Follows Kubernetes' `pkg/controller/statefulset/stateful_set_control.go`. OrderedReady: one pod at a time, each only
when all before it are ready; scaling down and updating from the highest ordinal. Parallel: all at once, updates still
bounded by `maxUnavailable` (1). Below `partition` pods keep the current revision. Volume claims are never deleted
here: `persistentVolumeClaimRetentionPolicy` makes the set (`whenDeleted`) or a pod that is scaled away (`whenScaled`)
their owner, and they are collected with it (KEP-1847).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.api import kinds, selectors
from fairlead.controllers import conditions, history, ownership, pods, writes
from fairlead.controllers.deployment import spec as limits
from fairlead.controllers.statefulset import identity
from fairlead.controllers.writes import Object


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`pods` match the selector or are owned; `claims` are the namespace's PersistentVolumeClaims by name."""

    stateful_set: Object
    pods: Sequence[Object]
    revisions: Sequence[Object]
    claims: Mapping[str, Object]
    now: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """The set's pods by ordinal, the revisions, and how to judge a pod."""

    snapshot: Snapshot
    owned: tuple[Object, ...]
    by_ordinal: dict[int, Object]
    wanted: range
    current: Object
    update: Object

    @property
    def owner(self) -> Object:
        return self.snapshot.stateful_set

    @property
    def ordered(self) -> bool:
        return bool(self.owner["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    def healthy(self, pod: Object) -> bool:
        min_ready = float(self.owner["spec"].get("minReadySeconds") or 0)
        running = pods.phase(pod) == "Running" and not pods.terminating(pod)
        return running and pods.available(pod, min_ready_seconds=min_ready, now=self.snapshot.now)


def decide(snapshot: Snapshot) -> writes.Decision:
    """The next pods to make or delete, and the status."""
    owner = snapshot.stateful_set
    selector = selectors.from_object(owner["spec"].get("selector"))
    mine = [
        pod for pod in snapshot.pods if ownership.controls(owner, pod) or identity.ordinal_of(owner, pod) is not None
    ]
    claim = ownership.claim(kinds.STATEFUL_SET, owner, mine, of=kinds.POD, selector=selector)
    if claim.writes:
        return writes.Decision(claim.writes)
    found = history.find(kinds.STATEFUL_SET, owner, snapshot.revisions)
    if found.writes:
        return writes.Decision(found.writes)
    plan = _plan(snapshot, claim.owned, found)
    changes: list[writes.Write] = []
    if "deletionTimestamp" not in owner["metadata"]:
        changes = [*_owned_claims(plan), *_step(plan)]
        live = {identity.revision_of(pod) for pod in claim.owned} | {history.name_of(plan.current)}
        limit = owner["spec"].get("revisionHistoryLimit")
        changes += history.expired(found, limit=10 if limit is None else int(limit), live=live)
    return writes.Decision((*changes, *_status(plan)), _again_seconds(plan))


def _plan(snapshot: Snapshot, owned: tuple[Object, ...], found: history.Found) -> _Plan:
    owner = snapshot.stateful_set
    first, count = identity.start(owner), limits.replicas(owner)
    known = (owner.get("status") or {}).get("currentRevision")
    current = next((one for one in found.others if history.name_of(one) == known), found.update)
    by_ordinal = {number: pod for pod in owned if (number := identity.ordinal_of(owner, pod)) is not None}
    return _Plan(snapshot, owned, by_ordinal, range(first, first + count), current, found.update)


def _step(plan: _Plan) -> list[writes.Write]:
    made, waits = _missing(plan)
    if made or waits:
        return made
    deleted, waits = _condemned(plan)
    if deleted or waits:
        return deleted
    return _updates(plan)


def _missing(plan: _Plan) -> tuple[list[writes.Write], bool]:
    """Pods to make, lowest ordinal first; True: wait for one before going on."""
    found: list[writes.Write] = []
    for ordinal in plan.wanted:
        pod = plan.by_ordinal.get(ordinal)
        if pod is None:
            found += _make(plan, ordinal)
            if plan.ordered:
                return found, True
        elif pods.finished(pod) and not pods.terminating(pod):
            set_name = f"{plan.owner['metadata']['namespace']}/{plan.owner['metadata']['name']}"
            note = f"StatefulSet {set_name} is recreating failed Pod {pod['metadata']['name']}"
            found += [writes.Note(plan.owner, "Warning", "RecreatingFailedPod", note), _delete(plan, pod)]
            if plan.ordered:
                return found, True
        elif plan.ordered and not plan.healthy(pod) and _blocks(plan, ordinal, pod):
            return found, True
    return found, False


def _blocks(plan: _Plan, ordinal: int, pod: Object) -> bool:
    """An unhealthy pod holds the others up, unless it is to be replaced anyway (so that a broken revision can be rolled
    back, which kubernetes#67250 asks for)."""
    if pods.terminating(pod):
        return True
    old = identity.revision_of(pod) != history.name_of(_revision_for(plan, ordinal))
    return not (old and _rolling(plan.owner))


def _revision_for(plan: _Plan, ordinal: int) -> Object:
    kept = _rolling(plan.owner) and ordinal < plan.wanted.start + _partition(plan.owner)
    return plan.current if kept else plan.update


def _make(plan: _Plan, ordinal: int) -> list[writes.Write]:
    owner = plan.owner
    pod = identity.make_pod(owner, _revision_for(plan, ordinal), ordinal)
    text = f"create Pod {pod['metadata']['name']} in StatefulSet {owner['metadata']['name']}"
    told = writes.Told(
        owner, ("SuccessfulCreate", f"{text} successful"), ("FailedCreate", f"{text} failed error: {{error}}")
    )
    claims: list[writes.Write] = [
        writes.Create(kinds.PERSISTENT_VOLUME_CLAIM, claim)
        for claim in identity.make_claims(owner, ordinal)
        if claim["metadata"]["name"] not in plan.snapshot.claims
    ]
    return [*claims, writes.Create(kinds.POD, pod, told)]


def _delete(plan: _Plan, pod: Object) -> writes.Delete:
    text = f"delete Pod {pod['metadata']['name']} in StatefulSet {plan.owner['metadata']['name']}"
    told = writes.Told(
        plan.owner, ("SuccessfulDelete", f"{text} successful"), ("FailedDelete", f"{text} failed error: {{error}}")
    )
    return writes.delete(kinds.POD, pod, told=told)


def _condemned(plan: _Plan) -> tuple[list[writes.Write], bool]:
    """Pods past the end, highest ordinal first."""
    surplus = sorted((number for number in plan.by_ordinal if number not in plan.wanted), reverse=True)
    if not surplus:
        return [], False
    if not plan.ordered:
        pods_left = [plan.by_ordinal[number] for number in surplus]
        return [_delete(plan, pod) for pod in pods_left if not pods.terminating(pod)], False
    pod = plan.by_ordinal[surplus[0]]
    return ([] if pods.terminating(pod) else [_delete(plan, pod)]), True


def _updates(plan: _Plan) -> list[writes.Write]:
    """Pods of an older revision to replace, highest ordinal first, at most `maxUnavailable` missing at a time."""
    owner = plan.owner
    if not _rolling(owner):
        return []
    targets = [number for number in reversed(plan.wanted) if number >= plan.wanted.start + _partition(owner)]
    given = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    most = max(1, limits.resolve(given.get("maxUnavailable") or 1, len(plan.wanted), up=True))
    unavailable = sum(not plan.healthy(plan.by_ordinal[number]) for number in plan.wanted if number in plan.by_ordinal)
    found: list[writes.Write] = []
    for number in targets:
        pod = plan.by_ordinal.get(number)
        if pod is None or identity.revision_of(pod) == history.name_of(plan.update) or pods.terminating(pod):
            continue
        if not plan.healthy(pod):
            found.append(_delete(plan, pod))
        elif unavailable < most:
            unavailable += 1
            found.append(_delete(plan, pod))
        else:
            break
    return found


def _rolling(owner: Object) -> bool:
    return bool((owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def _partition(owner: Object) -> int:
    given = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(given.get("partition") or 0)


def _owned_claims(plan: _Plan) -> list[writes.Write]:
    """Claims that should have other owners than they have."""
    found: list[writes.Write] = []
    for ordinal, pod in plan.by_ordinal.items():
        for name in identity.claims_of(plan.owner, ordinal).values():
            claim = plan.snapshot.claims.get(name)
            if claim is None or "deletionTimestamp" in claim["metadata"]:
                continue
            known = claim["metadata"].get("ownerReferences") or []
            wanted = identity.claim_owners(plan.owner, pod, known, condemned=ordinal not in plan.wanted)
            if wanted != known:
                change = {"metadata": {"ownerReferences": wanted or None}}
                found.append(writes.patch_of(kinds.PERSISTENT_VOLUME_CLAIM, claim, change))
    return found


def _again_seconds(plan: _Plan) -> float | None:
    min_ready = float(plan.owner["spec"].get("minReadySeconds") or 0)
    waits = [pods.available_in_seconds(pod, min_ready_seconds=min_ready, now=plan.snapshot.now) for pod in plan.owned]
    later = [wait for wait in waits if wait]
    return min(later) if later else None


def _status(plan: _Plan) -> list[writes.Write]:
    owner, live = plan.owner, [pod for pod in plan.owned if not pods.finished(pod)]
    standing = [pod for pod in live if not pods.terminating(pod)]
    current, update = history.name_of(plan.current), history.name_of(plan.update)
    ready = [pod for pod in standing if pods.phase(pod) == "Running" and pods.ready(pod)]
    status: Object = {
        "observedGeneration": owner["metadata"].get("generation", 0),
        "replicas": len(live),
        "readyReplicas": len(ready),
        "availableReplicas": sum(plan.healthy(pod) for pod in standing),
        "currentReplicas": sum(identity.revision_of(pod) == current for pod in standing),
        "updatedReplicas": sum(identity.revision_of(pod) == update for pod in standing),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": int((owner.get("status") or {}).get("collisionCount") or 0),
    }
    wanted = len(plan.wanted)
    if _rolling(owner) and status["updatedReplicas"] == status["replicas"] == status["readyReplicas"] == wanted:
        status["currentRevision"], status["currentReplicas"] = update, status["updatedReplicas"]
    if old := (owner.get("status") or {}).get("conditions"):
        status["conditions"] = old
    if conditions.same_status(owner.get("status"), status):
        return []
    return [writes.Update(kinds.STATEFUL_SET, {**owner, "status": status}, "status")]
