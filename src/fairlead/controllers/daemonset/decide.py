"""What a DaemonSet wants done: a pure function of the set, its pods, revisions and the nodes.

Follows Kubernetes' `pkg/controller/daemon`: a pod is bound to its node by node affinity on `metadata.name`; failed
pods are made anew, each after a wait that doubles with every failure of its node; RollingUpdate replaces pods of older
templates within `maxUnavailable` (1), or first makes the new one within `maxSurge`; OnDelete leaves them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.api import kinds, selectors
from fairlead.controllers import conditions, history, nodes, ownership, pods, writes
from fairlead.controllers.deployment import spec as limits
from fairlead.controllers.writes import Object

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    daemon_set: Object
    pods: Sequence[Object]
    revisions: Sequence[Object]
    nodes: Sequence[Object]
    now: float
    waits: Mapping[str, float] = field(default_factory=dict)  # node -> seconds before its failed pod is replaced


@dataclass(frozen=True, slots=True)
class _Plan:
    """The set's pods by node, and where they should be."""

    snapshot: Snapshot
    by_node: dict[str, list[Object]]
    wanted: tuple[str, ...]  # nodes where a pod should be
    kept: frozenset[str]  # nodes where one may stay
    update: str

    @property
    def owner(self) -> Object:
        return self.snapshot.daemon_set

    def new(self, pod: Object) -> bool:
        return bool((pod["metadata"].get("labels") or {}).get(history.LABEL) == self.update)

    def available(self, pod: Object) -> bool:
        min_ready = float(self.owner["spec"].get("minReadySeconds") or 0)
        return not pods.terminating(pod) and pods.available(pod, min_ready_seconds=min_ready, now=self.snapshot.now)


def decide(snapshot: Snapshot) -> writes.Decision:
    """Pods to make and delete, and the status."""
    owner = snapshot.daemon_set
    selector = selectors.from_object(owner["spec"].get("selector"))
    if selector.empty:
        text = "This daemon set is selecting all pods. A non-empty selector is required."
        return writes.Decision((writes.Note(owner, "Warning", "SelectingAll", text),))
    claim = ownership.claim(kinds.DAEMON_SET, owner, snapshot.pods, of=kinds.POD, selector=selector)
    if claim.writes:
        return writes.Decision(claim.writes)
    found = history.find(kinds.DAEMON_SET, owner, snapshot.revisions)
    if found.writes:
        return writes.Decision(found.writes)
    plan = _plan(snapshot, claim.owned, found)
    changes: list[writes.Write] = []
    if "deletionTimestamp" not in owner["metadata"]:
        changes = _place(plan)
        limit = owner["spec"].get("revisionHistoryLimit")
        live = {(pod["metadata"].get("labels") or {}).get(history.LABEL, "") for pod in claim.owned}
        names = {history.name_of(one) for one in found.others if _hash(one) in live}
        changes += history.expired(found, limit=10 if limit is None else int(limit), live=names)
    return writes.Decision((*changes, *_status(plan)), _again_seconds(plan, claim.owned))


def _hash(revision: Object) -> str:
    return str(revision["metadata"]["labels"]["controller.kubernetes.io/hash"])


def _plan(snapshot: Snapshot, owned: Sequence[Object], found: history.Found) -> _Plan:
    spec = snapshot.daemon_set["spec"]["template"]["spec"]
    tolerations = [*(spec.get("tolerations") or ()), *_tolerations(spec)]
    fitting = [node for node in snapshot.nodes if nodes.matches(spec, node)]
    wanted = tuple(nodes.name_of(node) for node in fitting if nodes.tolerates(tolerations, node))
    kept = frozenset(
        nodes.name_of(node) for node in fitting if nodes.tolerates(tolerations, node, effects=("NoExecute",))
    )
    by_node: dict[str, list[Object]] = {}
    for pod in owned:
        by_node.setdefault(node_of(pod), []).append(pod)
    return _Plan(snapshot, by_node, wanted, kept, _hash(found.update))


def node_of(pod: Object) -> str:
    """The node a daemon pod is on, or is bound for."""
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    terms = (
        ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", {})
        .get("nodeSelectorTerms", ())
    )
    for term in terms:
        for one in term.get("matchFields") or ():
            if one["key"] == "metadata.name" and len(one["values"]) == 1:
                return str(one["values"][0])
    return ""


def _place(plan: _Plan) -> list[writes.Write]:
    missing: list[str] = []
    gone: list[Object] = []
    for node in plan.wanted:
        present = plan.by_node.get(node, [])
        failed = [pod for pod in present if pods.finished(pod) and not pods.terminating(pod)]
        live = [pod for pod in present if not pods.finished(pod)]
        gone += failed if not plan.snapshot.waits.get(node) else []
        if not live and not failed:
            missing.append(node)
        gone += _doubles(plan, live)
    for node, present in plan.by_node.items():
        if node not in plan.kept:
            gone += [pod for pod in present if not pods.terminating(pod)]
    rolled, surged = _roll(plan)
    gone += [pod for pod in rolled if pod not in gone]
    told = writes.Told(
        plan.owner, ("SuccessfulDelete", "Deleted pod: {name}"), ("FailedDelete", "Error deleting: {error}")
    )
    found: list[writes.Write] = [_told_failed(plan, pod) for pod in gone if pods.finished(pod)]
    if gone:
        found.append(writes.Together(tuple(writes.delete(kinds.POD, pod, told=told) for pod in gone)))
    if missing or surged:
        found.append(writes.Together(tuple(_make(plan, node) for node in [*missing, *surged])))
    return found


def failed_nodes(owned: Sequence[Object]) -> set[str]:
    """The nodes whose pod has failed and has not been replaced yet."""
    return {node_of(pod) for pod in owned if pods.finished(pod) and not pods.terminating(pod)}


def _told_failed(plan: _Plan, pod: Object) -> writes.Note:
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    text = f"Found failed daemon pod {name} on node {node_of(pod)}, will try to kill it"
    return writes.Note(plan.owner, "Warning", "FailedDaemonPod", text)


def _doubles(plan: _Plan, live: list[Object]) -> list[Object]:
    """More than one pod of one template on one node: the oldest stays."""
    found: list[Object] = []
    for same in ([pod for pod in live if plan.new(pod)], [pod for pod in live if not plan.new(pod)]):
        standing = sorted(
            (pod for pod in same if not pods.terminating(pod)),
            key=lambda pod: (str(pod["metadata"].get("creationTimestamp")), str(pod["metadata"]["name"])),
        )
        found += standing[1:]
    return found


def _limits(plan: _Plan) -> tuple[int, int]:
    """(maxUnavailable, maxSurge) in pods."""
    given = (plan.owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    count = len(plan.wanted)
    surge = limits.resolve(given.get("maxSurge") or 0, count, up=True)
    unavailable = limits.resolve(given.get("maxUnavailable", 0 if surge else 1), count, up=True)
    return (unavailable if surge else max(1, unavailable)), surge


def _roll(plan: _Plan) -> tuple[list[Object], list[str]]:
    """(old pods to delete, nodes to surge on)."""
    if (plan.owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") != "RollingUpdate":
        return [], []
    most, surge = _limits(plan)
    unavailable, candidates, surging = 0, [], 0
    for node in plan.wanted:
        live = [pod for pod in plan.by_node.get(node, []) if not pods.finished(pod)]
        old = [pod for pod in live if not plan.new(pod) and not pods.terminating(pod)]
        new = [pod for pod in live if plan.new(pod) and not pods.terminating(pod)]
        served = any(plan.available(pod) for pod in [*old, *new])
        unavailable += not served
        surging += bool(old and new)
        if old:
            candidates.append((node, old[0], new[0] if new else None))
    if surge:
        return _surge(plan, candidates, surge - surging)
    gone = [old for _, old, _ in candidates if not plan.available(old)]
    healthy = [old for _, old, _ in candidates if plan.available(old)]
    return gone + healthy[: max(0, most - unavailable)], []


def _surge(
    plan: _Plan, candidates: list[tuple[str, Object, Object | None]], room: int
) -> tuple[list[Object], list[str]]:
    gone = [old for _, old, new in candidates if (new is not None and plan.available(new)) or not plan.available(old)]
    waiting = [node for node, old, new in candidates if new is None and old not in gone]
    return gone, waiting[: max(0, room)]


def _make(plan: _Plan, node: str) -> writes.Create:
    owner = plan.owner
    pod = pods.from_template(
        owner["spec"]["template"], owner=owner, reference=ownership.reference(kinds.DAEMON_SET, owner)
    )
    spec = dict(pod["spec"])
    spec["affinity"] = _bound_to(spec.get("affinity") or {}, node)
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *_tolerations(spec)]
    labels = {**pod["metadata"].get("labels", {}), history.LABEL: plan.update}
    generation = (owner["metadata"].get("annotations") or {}).get("deprecated.daemonset.template.generation")
    if generation:
        labels["pod-template-generation"] = generation
    body = {"metadata": {**pod["metadata"], "labels": labels}, "spec": spec}
    told = writes.Told(owner, ("SuccessfulCreate", "Created pod: {name}"), ("FailedCreate", "Error creating: {error}"))
    return writes.Create(kinds.POD, body, told)


def _bound_to(affinity: Object, node: str) -> Object:
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    given = affinity.get("nodeAffinity") or {}
    return {**affinity, "nodeAffinity": {**given, "requiredDuringSchedulingIgnoredDuringExecution": required}}


def _tolerations(spec: Object) -> list[Object]:
    found = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED]
    if spec.get("hostNetwork"):
        found.append({"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"})
    return [one for one in found if one not in (spec.get("tolerations") or ())]


def _again_seconds(plan: _Plan, owned: Sequence[Object]) -> float | None:
    min_ready = float(plan.owner["spec"].get("minReadySeconds") or 0)
    waits = [pods.available_in_seconds(pod, min_ready_seconds=min_ready, now=plan.snapshot.now) for pod in owned]
    later = [wait for wait in (*waits, *plan.snapshot.waits.values()) if wait]
    return min(later) if later else None


def _status(plan: _Plan) -> list[writes.Write]:
    owner = plan.owner
    placed = {
        node: [pod for pod in present if not pods.terminating(pod) and not pods.finished(pod)]
        for node, present in plan.by_node.items()
    }
    here = [placed.get(node, []) for node in plan.wanted]
    available = sum(any(plan.available(pod) for pod in present) for present in here)
    status: Object = {
        "observedGeneration": owner["metadata"].get("generation", 0),
        "desiredNumberScheduled": len(plan.wanted),
        "currentNumberScheduled": sum(bool(present) for present in here),
        "numberMisscheduled": sum(bool(present) for node, present in placed.items() if node not in plan.wanted),
        "numberReady": sum(any(pods.ready(pod) for pod in present) for present in here),
        "updatedNumberScheduled": sum(any(plan.new(pod) for pod in present) for present in here),
        "numberAvailable": available,
        "numberUnavailable": len(plan.wanted) - available,
    }
    old = owner.get("status") or {}
    if old.get("conditions"):
        status["conditions"] = old["conditions"]
    if conditions.same_status(old, status):
        return []
    return [writes.Update(kinds.DAEMON_SET, {**owner, "status": status}, "status")]
