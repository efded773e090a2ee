"""A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure in Kubernetes' words."""

from __future__ import annotations

from fairlead.base import clock as clocks
from fairlead.controllers import conditions
from fairlead.controllers.deployment import revisions, spec
from fairlead.controllers.writes import Object

_COUNTS = ("replicas", "readyReplicas", "availableReplicas", "terminatingReplicas")


def compute(deployment: Object, sets: revisions.Sets, *, now: float, made: str = "") -> Object:
    """The status now. `made` names a ReplicaSet that this very step creates."""
    old: Object = deployment.get("status") or {}
    status = _counts(deployment, sets)
    if old.get("collisionCount"):
        status["collisionCount"] = old["collisionCount"]
    found = _available(deployment, status, list(old.get("conditions") or ()), now)
    found = _replica_failure(sets, found, now)
    if spec.deadline_seconds(deployment) is None:
        found = conditions.without(found, "Progressing")
    elif spec.paused(deployment):
        found = _paused(found, now)
    else:
        found = _progressing(deployment, sets, status, _resumed(found, now), now, made)
    status["conditions"] = found
    return status


def _counts(deployment: Object, sets: revisions.Sets) -> Object:
    status: Object = {name: spec.total_observed(sets.all, name) for name in _COUNTS}
    status["updatedReplicas"] = spec.observed(sets.new, "replicas") if sets.new is not None else 0
    status["unavailableReplicas"] = max(0, spec.total(sets.all) - status["availableReplicas"])
    status["observedGeneration"] = deployment["metadata"].get("generation", 0)
    return status


def _available(deployment: Object, status: Object, found: list[Object], now: float) -> list[Object]:
    enough = status["availableReplicas"] >= spec.replicas(deployment) - spec.max_unavailable(deployment)
    word = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    text = f"Deployment {'has' if enough else 'does not have'} minimum availability."
    return _put(found, "Available", str(enough), word, text, now)


def _replica_failure(sets: revisions.Sets, found: list[Object], now: float) -> list[Object]:
    of_new = conditions.find(sets.new, "ReplicaFailure") if sets.new is not None else None
    failures = [of_new] if of_new else [conditions.find(one, "ReplicaFailure") for one in sets.old]
    failure = next((entry for entry in failures if entry), None)
    if failure is None:
        return conditions.without(found, "ReplicaFailure")
    return _put(found, "ReplicaFailure", failure["status"], failure["reason"], failure["message"], now)


def _paused(found: list[Object], now: float) -> list[Object]:
    known = conditions.find({"conditions": found}, "Progressing")
    if known is not None and known.get("reason") == "ProgressDeadlineExceeded":
        return found  # the failure stays visible while paused
    return _put(found, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)


def _resumed(found: list[Object], now: float) -> list[Object]:
    known = conditions.find({"conditions": found}, "Progressing")
    if known is None or known.get("reason") != "DeploymentPaused":
        return found
    return _put(found, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)


def _progressing(
    deployment: Object, sets: revisions.Sets, status: Object, found: list[Object], now: float, made: str
) -> list[Object]:
    known = conditions.find({"conditions": found}, "Progressing")
    if made:
        return _put(found, "Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{made}"', now)
    who = (
        f'ReplicaSet "{sets.new["metadata"]["name"]}"' if sets.new else f'Deployment "{deployment["metadata"]["name"]}"'
    )
    if known is None and sets.new is not None:
        text = f'Found new replica set "{sets.new["metadata"]["name"]}"'
        found = _put(found, "Progressing", "True", "FoundNewReplicaSet", text, now)
    done = known is not None and known.get("reason") == "NewReplicaSetAvailable"
    if done and status["replicas"] == status["updatedReplicas"]:
        return found
    if spec.complete(deployment, status):
        return _put(found, "Progressing", "True", "NewReplicaSetAvailable", f"{who} has successfully progressed.", now)
    if _moved(deployment.get("status") or {}, status):
        return _renewed(found, f"{who} is progressing.", now)
    if timed_out(deployment, known, now):
        return _put(found, "Progressing", "False", "ProgressDeadlineExceeded", f"{who} has timed out progressing.", now)
    return found


def _moved(old: Object, new: Object) -> bool:
    def left(status: Object) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    grown = any(new[name] > old.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grown or left(new) < left(old)


def _renewed(found: list[Object], text: str, now: float) -> list[Object]:
    """Progress made now: the deadline starts anew, so the update time moves even when the reason stays."""
    known = conditions.find({"conditions": found}, "Progressing")
    rest = conditions.without(found, "Progressing")
    fresh = _put(rest, "Progressing", "True", "ReplicaSetUpdated", text, now)
    if known is not None and known["status"] == "True":
        fresh[-1]["lastTransitionTime"] = known["lastTransitionTime"]
    return fresh


def timed_out(deployment: Object, known: Object | None, now: float) -> bool:
    """No progress within `progressDeadlineSeconds` of the last."""
    limit = spec.deadline_seconds(deployment)
    if known is None or limit is None or known.get("reason") == "NewReplicaSetAvailable":
        return False
    if known.get("reason") == "ProgressDeadlineExceeded":
        return True
    return clocks.parse_rfc3339(known["lastUpdateTime"]) + limit < now


def check_again_seconds(deployment: Object, status: Object, now: float) -> float | None:
    """When the deadline must be looked at; None while nothing waits for it."""
    known = conditions.find(status, "Progressing")
    limit = spec.deadline_seconds(deployment)
    if limit is None or known is None or spec.paused(deployment) or spec.complete(deployment, status):
        return None
    if known.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    return max(0.0, clocks.parse_rfc3339(known["lastUpdateTime"]) + limit - now) + 1.0


def _put(found: list[Object], type_: str, status: str, reason: str, message: str, now: float) -> list[Object]:
    return conditions.put(found, type_=type_, status=status, reason=reason, message=message, now=now, updates=True)
