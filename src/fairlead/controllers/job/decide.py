"""What a Job wants done: a pure function of the Job and its pods.

Follows Kubernetes' `pkg/controller/job`: parallelism, completions (NonIndexed and Indexed), backoffLimit with a delay
that doubles from 10 s to 10 min, activeDeadlineSeconds, suspend, podFailurePolicy, podReplacementPolicy, limits per
index and successPolicy (`per_index`), tracking by finalizers. A Job with `managedBy` of somebody else is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds, selectors
from fairlead.base import clock as clocks
from fairlead.controllers import conditions, ownership, pods, writes
from fairlead.controllers.job import counting, indexes, making, per_index, policy
from fairlead.controllers.writes import Object

MANAGER = "kubernetes.io/job-controller"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`pods` match the selector or are owned."""

    job: Object
    pods: Sequence[Object]
    now: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """A Job's pods, counted; `failing` is a pod failure that fails the Job."""

    job: Object
    now: float
    owned: tuple[Object, ...]
    active: tuple[Object, ...]
    count: counting.Count
    failing: policy.Verdict | None
    indexes: per_index.State

    @property
    def done(self) -> set[int]:
        """The indexes that have succeeded."""
        return indexes.parse(self.count.fields.get("completedIndexes") or "")

    @property
    def completions(self) -> int | None:
        found = self.job["spec"].get("completions")
        return None if found is None else int(found)

    @property
    def suspended(self) -> bool:
        return bool(self.job["spec"].get("suspend"))

    @property
    def known(self) -> list[Object]:
        return list((self.job.get("status") or {}).get("conditions") or ())


def finished(job: Object) -> Object | None:
    """The condition that ended the Job."""
    for type_ in ("Complete", "Failed"):
        condition = conditions.find(job, type_)
        if condition is not None and condition["status"] == "True":
            return condition
    return None


def decide(snapshot: Snapshot) -> writes.Decision:
    """Pods to make, delete and release, and the status."""
    job = snapshot.job
    if job["spec"].get("managedBy", MANAGER) != MANAGER:
        return writes.NOTHING
    claim = ownership.claim(kinds.JOB, job, snapshot.pods, of=kinds.POD, selector=selector_of(job))
    if claim.writes:
        return writes.Decision(claim.writes)
    if finished(job) or "deletionTimestamp" in job["metadata"]:
        return writes.Decision(tuple(counting.without_finalizer(pod) for pod in claim.owned if counting.tracked(pod)))
    plan = _plan(snapshot, claim.owned)
    end = _end(plan)
    return _finish(plan, *end) if end is not None else _go_on(plan)


def selector_of(job: Object) -> selectors.Selector:
    """The Job's selector; where the server made none, the labels that its pods get."""
    given = job["spec"].get("selector")
    return selectors.from_object(given) if given else selectors.from_labels(making.labels_of(job))


def _plan(snapshot: Snapshot, owned: tuple[Object, ...]) -> _Plan:
    job = snapshot.job
    verdicts = {pod["metadata"]["uid"]: policy.judge(job, pod) for pod in owned if pods.phase(pod) == "Failed"}
    ignored = frozenset(uid for uid, verdict in verdicts.items() if verdict.action == "Ignore")
    failing = next((verdict for verdict in verdicts.values() if verdict.action == "FailJob"), None)
    indexed = job["spec"].get("completionMode") == "Indexed"
    by_index = per_index.observe(job, owned, verdicts, snapshot.now)

    def plan(held: frozenset[str]) -> _Plan:
        count = counting.count(
            job.get("status") or {},
            owned,
            ignored=ignored,
            completions=int(job["spec"].get("completions") or 0) if indexed else None,
            held=held,
        )
        active = tuple(pod for pod in owned if pods.active(pod))
        return _Plan(job, snapshot.now, owned, active, count, failing, by_index)

    found = plan(by_index.held)
    return plan(frozenset()) if by_index.held and _end(found) is not None else found


def _end(plan: _Plan) -> tuple[str, str, str] | None:
    """(condition, reason, message) when the Job is over; what ended it stays what ended it."""
    for early, type_ in (("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")):
        if decided := conditions.find(plan.job, early):
            return type_, decided["reason"], decided["message"]
    if plan.failing is not None:
        return "Failed", "PodFailurePolicy", plan.failing.message
    if met := per_index.success(plan.job, plan.done) or per_index.end(plan.job, plan.indexes, plan.done):
        return met
    if _past_backoff_limit(plan):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if _deadline_left_seconds(plan) == 0.0:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    done = plan.count.succeeded
    enough = plan.completions is not None and done >= plan.completions
    if enough or (plan.completions is None and done > 0 and not plan.active):
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    return None


def _past_backoff_limit(plan: _Plan) -> bool:
    """Too many failed pods, or with OnFailure too many restarts of those that live (`pastBackoffLimitOnFailure`)."""
    spec = plan.job["spec"]
    limit = 6 if spec.get("backoffLimit") is None else int(spec["backoffLimit"])
    if plan.count.failed > limit:
        return True
    if spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    return sum(_restarts(pod) for pod in plan.owned if not pods.finished(pod)) >= max(1, limit)


def _restarts(pod: Object) -> int:
    status = pod.get("status") or {}
    entries = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return sum(int(entry.get("restartCount") or 0) for entry in entries)


def _deadline_left_seconds(plan: _Plan) -> float | None:
    limit, started = plan.job["spec"].get("activeDeadlineSeconds"), (plan.job.get("status") or {}).get("startTime")
    if limit is None or not started or plan.suspended:
        return None
    return max(0.0, clocks.parse_rfc3339(started) + float(limit) - plan.now)


def _finish(plan: _Plan, type_: str, reason: str, message: str) -> writes.Decision:
    """First the pods go, then the condition says it: a finished Job has no running pod (KEP-3939, KEP-4368)."""
    early = "SuccessCriteriaMet" if type_ == "Complete" else "FailureTarget"
    found = conditions.put(plan.known, type_=early, status="True", reason=reason, message=message, now=plan.now)
    uncounted = plan.count.fields["uncountedTerminatedPods"]
    if plan.active or plan.count.release or uncounted:
        status = _status(plan, found, active=0)
        gone = making.delete_all(plan.job, plan.active)
        return writes.Decision((*_written(plan, status), *_released(plan), *gone))
    if any(pods.terminating(pod) and not pods.finished(pod) for pod in plan.owned):
        return writes.Decision(_written(plan, _status(plan, found, active=0)))
    found = conditions.put(found, type_=type_, status="True", reason=reason, message=message, now=plan.now)
    status = _status(plan, found, active=0)
    if type_ == "Complete":
        status["completionTime"] = clocks.rfc3339(plan.now)
        note = writes.Note(plan.job, "Normal", "Completed", "Job completed")
    else:
        note = writes.Note(plan.job, "Warning", reason, message)
    return writes.Decision((*_written(plan, status), note))


def _go_on(plan: _Plan) -> writes.Decision:
    found, notes = _suspension(plan)
    again = _deadline_left_seconds(plan)
    if plan.suspended:
        changes = making.take_away(plan.job, plan.active)
    else:
        changes, wait = _pods_to_change(plan)
        again = min([value for value in (again, wait) if value is not None], default=None)
    status = _status(plan, found, active=0 if plan.suspended else len(plan.active))
    if plan.suspended:
        status.pop("startTime", None)
    else:
        status.setdefault("startTime", clocks.rfc3339(plan.now))
    writes_ = (*_written(plan, status), *_released(plan), *notes, *changes)
    return writes.Decision(writes_, again)


def _suspension(plan: _Plan) -> tuple[list[Object], list[writes.Write]]:
    known = conditions.find(plan.job, "Suspended")
    was = known is not None and known["status"] == "True"
    if plan.suspended == was:
        return plan.known, []
    reason, text = ("JobSuspended", "Job suspended") if plan.suspended else ("JobResumed", "Job resumed")
    found = conditions.put(
        plan.known, type_="Suspended", status=str(plan.suspended), reason=reason, message=text, now=plan.now
    )
    return found, [writes.Note(plan.job, "Normal", "Suspended" if plan.suspended else "Resumed", text)]


def _pods_to_change(plan: _Plan) -> tuple[list[writes.Write], float | None]:
    """Pods to make or delete so that as many run as should, and after how long one may be made again."""
    wanted = _wanted(plan)
    if len(plan.active) > wanted:
        order = pods.deletion_order(plan.active, now=plan.now)
        return making.take_away(plan.job, order[: len(plan.active) - wanted]), None
    leaving = [pod for pod in plan.owned if pods.terminating(pod) and not pods.finished(pod)]
    occupied = len(plan.active) + (len(leaving) if _replace_only_failed(plan.job["spec"]) else 0)
    if wanted <= occupied:
        return [], None
    if per_index.limit_of(plan.job) is not None:
        return _per_index(plan, wanted - occupied)
    wait = making.backoff_left_seconds(plan.owned, plan.now)
    if wait > 0:
        return [], wait
    made = tuple(making.make(plan.job, index) for index in _free_indexes(plan, wanted - occupied))
    return ([writes.Together(made)] if made else []), None


def _per_index(plan: _Plan, missing: int) -> tuple[list[writes.Write], float | None]:
    """Pods for the indexes whose own wait is over."""
    waits, failures = plan.indexes.waits or {}, plan.indexes.failures or {}
    taken = plan.done | plan.indexes.failed | per_index.active_of(plan.active)
    free = [index for index in range(plan.completions or 0) if index not in taken]
    due = [index for index in free if waits.get(index, 0.0) <= 0][:missing]
    made = tuple(making.make(plan.job, index, failures=failures.get(index, 0)) for index in due)
    again = min((waits[index] for index in free if waits.get(index, 0.0) > 0), default=None)
    return ([writes.Together(made)] if made else []), again


def _wanted(plan: _Plan) -> int:
    given = plan.job["spec"].get("parallelism")
    parallelism = 1 if given is None else int(given)
    if plan.completions is not None:
        return min(parallelism, max(0, plan.completions - plan.count.succeeded - len(plan.indexes.failed)))
    return min(parallelism, len(plan.active)) if plan.count.succeeded > 0 else parallelism


def _replace_only_failed(spec: Object) -> bool:
    default = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    return bool(spec.get("podReplacementPolicy", default) == "Failed")


def _free_indexes(plan: _Plan, missing: int) -> Sequence[int | None]:
    if plan.job["spec"].get("completionMode") != "Indexed":
        return [None] * missing
    taken = indexes.parse(plan.count.fields["completedIndexes"])
    taken |= {index for pod in plan.active if (index := indexes.of(pod)) is not None}
    return [index for index in range(plan.completions or 0) if index not in taken][:missing]


def _released(plan: _Plan) -> list[writes.Write]:
    return [counting.without_finalizer(pod) for pod in plan.count.release]


def _status(plan: _Plan, found: list[Object], *, active: int) -> Object:
    status = {**(plan.job.get("status") or {}), **plan.count.fields, "active": active}
    if per_index.limit_of(plan.job) is not None:
        status["failedIndexes"] = indexes.render(plan.indexes.failed)
    status["ready"] = sum(pods.ready(pod) for pod in plan.active) if active else 0
    status["terminating"] = sum(pods.terminating(pod) and not pods.finished(pod) for pod in plan.owned)
    if found:
        status["conditions"] = found
    return status


def _written(plan: _Plan, status: Object) -> tuple[writes.Write, ...]:
    if conditions.same_status(plan.job.get("status"), status):
        return ()
    return (writes.Update(kinds.JOB, {**plan.job, "status": status}, "status"),)
