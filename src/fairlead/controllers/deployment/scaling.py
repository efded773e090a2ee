"""How many pods each ReplicaSet should have: rolling, recreating, and scaling in proportion. Pure arithmetic.

Every function answers with {name of the ReplicaSet: replicas} for those that should change. Follows Kubernetes'
`pkg/controller/deployment/{rolling,recreate,sync}.go` and its tests.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.controllers.deployment import revisions, spec
from fairlead.controllers.writes import Object

Scales = dict[str, int]


def new_replicas(deployment: Object, sets: revisions.Sets) -> int:
    """The replicas of the new ReplicaSet now: as many as maxSurge leaves room for."""
    wanted = spec.replicas(deployment)
    if not spec.rolling(deployment):
        return wanted
    present = spec.replicas(sets.new) if sets.new is not None else 0
    room = wanted + spec.max_surge(deployment) - spec.total(sets.all)
    return present + max(0, min(room, wanted - present))


def roll_up(deployment: Object, sets: revisions.Sets) -> Scales:
    """The new ReplicaSet's next size."""
    if sets.new is None:
        return {}
    present, wanted = spec.replicas(sets.new), spec.replicas(deployment)
    size = wanted if present > wanted else new_replicas(deployment, sets)
    return {} if size == present else {_name(sets.new): size}


def roll_down(deployment: Object, sets: revisions.Sets) -> Scales:
    """The old ReplicaSets' next sizes: unhealthy pods first, then as many healthy ones as maxUnavailable allows."""
    old = [found for found in sets.old if spec.replicas(found) > 0]
    if not old:
        return {}
    minimum = spec.replicas(deployment) - spec.max_unavailable(deployment)
    new_unavailable = 0
    if sets.new is not None:
        new_unavailable = spec.replicas(sets.new) - spec.observed(sets.new, "availableReplicas")
    most = spec.total(sets.all) - minimum - new_unavailable
    if most <= 0:
        return {}
    sizes = {_name(found): spec.replicas(found) for found in old}
    _drop_unhealthy(old, sizes, most)
    _drop_healthy(old, sizes, spec.total_observed(sets.all, "availableReplicas") - minimum)
    return {_name(found): sizes[_name(found)] for found in old if sizes[_name(found)] != spec.replicas(found)}


def _drop_unhealthy(old: Sequence[Object], sizes: Scales, most: int) -> None:
    for found in old:
        unhealthy = max(0, sizes[_name(found)] - spec.observed(found, "availableReplicas"))
        dropped = min(most, unhealthy)
        sizes[_name(found)] -= dropped
        most -= dropped


def _drop_healthy(old: Sequence[Object], sizes: Scales, most: int) -> None:
    for found in old:
        dropped = max(0, min(most, sizes[_name(found)]))
        sizes[_name(found)] -= dropped
        most -= dropped


def empty(old: Sequence[Object]) -> Scales:
    """All old ReplicaSets to zero."""
    return {_name(found): 0 for found in old if spec.replicas(found) > 0}


def in_proportion(deployment: Object, sets: revisions.Sets) -> Scales:
    """Sizes after the Deployment was scaled (or while it is paused): the active ReplicaSets share the change."""
    wanted = spec.replicas(deployment)
    active = [found for found in sets.all if spec.replicas(found) > 0]
    if len(active) <= 1:
        only = active[0] if active else sets.new or (sets.old[-1] if sets.old else None)
        return {_name(only): wanted} if only is not None and spec.replicas(only) != wanted else {}
    if sets.new is not None and _saturated(deployment, sets.new):
        return empty(sets.old)
    if not spec.rolling(deployment):
        return {}
    return _shared(deployment, active)


def _saturated(deployment: Object, new: Object) -> bool:
    wanted = spec.replicas(deployment)
    return (
        spec.replicas(new) == wanted
        and spec.annotation_number(new, spec.DESIRED) == wanted
        and spec.observed(new, "availableReplicas") == wanted
    )


def _shared(deployment: Object, active: list[Object]) -> Scales:
    wanted = spec.replicas(deployment)
    allowed = wanted + spec.max_surge(deployment) if wanted > 0 else 0
    missing = allowed - spec.total(active)
    ordered = sorted(active, key=spec.by_age, reverse=missing > 0)
    ordered.sort(
        key=spec.replicas, reverse=True
    )  # the largest first; among equals the newest grows, the oldest shrinks
    sizes, added = {}, 0
    for found in ordered:
        share = _share(deployment, found, missing, added) if missing else 0
        sizes[_name(found)] = spec.replicas(found) + share
        added += share
    first = _name(ordered[0])
    sizes[first] = max(0, sizes[first] + missing - added)
    return {_name(found): sizes[_name(found)] for found in ordered if sizes[_name(found)] != spec.replicas(found)}


def _share(deployment: Object, found: Object, missing: int, added: int) -> int:
    left = missing - added
    fraction = _fraction(deployment, found)
    return min(fraction, left) if missing > 0 else max(fraction, left)


def _fraction(deployment: Object, found: Object) -> int:
    size, wanted = spec.replicas(found), spec.replicas(deployment)
    if wanted == 0:
        return -size
    before = spec.annotation_number(found, spec.MAX)
    if before is None:
        before = int((deployment.get("status") or {}).get("replicas") or 0)
    if not before:
        return 0
    return _rounded(size * (wanted + spec.max_surge(deployment)), before) - size


def _rounded(dividend: int, divisor: int) -> int:
    """Half away from zero, in whole numbers."""
    return (2 * dividend + divisor) // (2 * divisor)


def scaled_since(deployment: Object, sets: revisions.Sets) -> bool:
    """The Deployment's replicas changed since its ReplicaSets were last scaled."""
    for found in sets.all:
        desired = spec.annotation_number(found, spec.DESIRED)
        if spec.replicas(found) > 0 and desired is not None and desired != spec.replicas(deployment):
            return True
    return False


def _name(found: Object) -> str:
    return str(found["metadata"]["name"])
