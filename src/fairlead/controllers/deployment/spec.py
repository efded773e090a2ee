"""A Deployment's fields with Kubernetes' defaults, and the arithmetic of maxSurge and maxUnavailable."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fairlead.controllers import conditions
from fairlead.controllers.writes import Object

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
HASH = "pod-template-hash"
_NO_DEADLINE = 2**31 - 1


def replicas(obj: Object) -> int:
    """`spec.replicas` of a Deployment or ReplicaSet."""
    found = obj["spec"].get("replicas")
    return 1 if found is None else int(found)


def observed(replica_set: Object, name: str) -> int:
    """A number of a ReplicaSet's status."""
    return int((replica_set.get("status") or {}).get(name) or 0)


def total(replica_sets: Iterable[Object]) -> int:
    return sum(replicas(found) for found in replica_sets)


def total_observed(replica_sets: Iterable[Object], name: str) -> int:
    return sum(observed(found, name) for found in replica_sets)


def rolling(deployment: Object) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def paused(deployment: Object) -> bool:
    return bool(deployment["spec"].get("paused"))


def max_surge(deployment: Object) -> int:
    return _limits(deployment)[0] if rolling(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    """How many pods may be missing; never more than there are to be."""
    if not rolling(deployment) or replicas(deployment) == 0:
        return 0
    return min(_limits(deployment)[1], replicas(deployment))


def _limits(deployment: Object) -> tuple[int, int]:
    given = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    wanted = replicas(deployment)
    surge = resolve(given.get("maxSurge", "25%"), wanted, up=True)
    unavailable = resolve(given.get("maxUnavailable", "25%"), wanted, up=False)
    return surge, unavailable if surge or unavailable else 1  # both zero by rounding: one must give way


def resolve(given: int | str, whole: int, *, up: bool) -> int:
    """A number or a percentage of `whole`, rounded up or down."""
    if isinstance(given, str) and given.endswith("%"):
        part = int(given[:-1]) * whole / 100
        return math.ceil(part) if up else math.floor(part)
    return int(given)


def deadline_seconds(deployment: Object) -> float | None:
    """`progressDeadlineSeconds`; None when there is none."""
    found = deployment["spec"].get("progressDeadlineSeconds")
    found = 600 if found is None else int(found)
    return None if found == _NO_DEADLINE else float(found)


def history_limit(deployment: Object) -> int | None:
    found = deployment["spec"].get("revisionHistoryLimit")
    found = 10 if found is None else int(found)
    return None if found == _NO_DEADLINE else found


def annotation_number(obj: Object, name: str) -> int | None:
    text = (obj["metadata"].get("annotations") or {}).get(name)
    return int(text) if text is not None and text.isdigit() else None


def revision(obj: Object) -> int:
    return annotation_number(obj, REVISION) or 0


def by_age(found: Object) -> tuple[str, str]:
    """The order of creation."""
    return str(found["metadata"].get("creationTimestamp") or ""), str(found["metadata"]["name"])


def complete(deployment: Object, status: Object) -> bool:
    """All pods are of the newest template and available, and no old one is left."""
    wanted = replicas(deployment)
    return (
        all(status.get(name, 0) == wanted for name in ("updatedReplicas", "replicas", "availableReplicas"))
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    )  # fmt: skip


def progressing(deployment: Object) -> Object | None:
    return conditions.find(deployment, "Progressing")
