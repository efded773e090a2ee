"""What a CronJob wants done: a pure function of the CronJob, its Jobs and the time.

Follows Kubernetes' `pkg/controller/cronjob/cronjob_controllerv2.go`: the most recent time that is due, unless it is
older than `startingDeadlineSeconds`; concurrency policies; history limits; a Job's name holds its minute, so that
none is made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.controllers import conditions, ownership, writes
from fairlead.controllers.cronjob import schedule
from fairlead.controllers.job import decide as jobs
from fairlead.controllers.writes import Object

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MANY = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`jobs` are those that the CronJob controls."""

    cron_job: Object
    jobs: Sequence[Object]
    now: float


def decide(snapshot: Snapshot) -> writes.Decision:
    """Jobs to make and delete, the status, and when to look again."""
    owner, now = snapshot.cron_job, snapshot.now
    status, notes = _status(snapshot)
    cleanup = _expired(owner, snapshot.jobs)
    if "deletionTimestamp" in owner["metadata"] or owner["spec"].get("suspend"):
        return writes.Decision((*notes, *cleanup, *_written(owner, status)))
    try:
        plan = schedule.parse(owner["spec"]["schedule"], time_zone=owner["spec"].get("timeZone") or "")
    except schedule.ScheduleError as error:
        note = writes.Note(owner, "Warning", "InvalidSchedule", f"invalid schedule: {error}")
        seen = (owner.get("status") or {}).get("lastScheduleTime")
        return writes.Decision((*(() if seen else (note,)), *cleanup, *_written(owner, status)))
    following = plan.after(now)
    again = following - now + 0.1 if following is not None else None
    due = _due(owner, plan, now)
    if due is None:
        return writes.Decision((*notes, *cleanup, *_written(owner, status)), again)
    return writes.Decision((*notes, *cleanup, *_start(snapshot, plan, due, status)), again)


def _due(owner: Object, plan: schedule.Schedule, now: float) -> float | None:
    """The most recent time due that has not been served."""
    since = _since(owner, now)
    latest = plan.latest(now)
    return latest if latest is not None and latest > since else None


def _since(owner: Object, now: float) -> float:
    last = (owner.get("status") or {}).get("lastScheduleTime") or owner["metadata"]["creationTimestamp"]
    since = clocks.parse_rfc3339(last)
    deadline = owner["spec"].get("startingDeadlineSeconds")
    return since if deadline is None else max(since, now - float(deadline))


def _start(snapshot: Snapshot, plan: schedule.Schedule, due: float, status: Object) -> list[writes.Write]:
    owner, running = snapshot.cron_job, [job for job in snapshot.jobs if not jobs.finished(job)]
    found: list[writes.Write] = _missed(owner, plan, snapshot.now)
    policy = owner["spec"].get("concurrencyPolicy", "Allow")
    name = f"{owner['metadata']['name']}-{int(due // 60)}"
    if any(job["metadata"]["name"] == name for job in snapshot.jobs):
        return [*found, *_written(owner, {**status, "lastScheduleTime": clocks.rfc3339(due)})]
    if policy == "Forbid" and running:
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        known = (owner.get("status") or {}).get("lastScheduleTime")
        found.append(writes.Note(owner, "Normal", "JobAlreadyActive", text))
        return [*found, *_written(owner, {**status, **({"lastScheduleTime": known} if known else {})})]
    if policy == "Replace":
        found += [_delete(owner, job) for job in running]
    status = {**status, "lastScheduleTime": clocks.rfc3339(due)}
    told = writes.Told(
        owner, ("SuccessfulCreate", "Created job {name}"), ("FailedCreate", "Error creating job: {error}")
    )
    return [*found, writes.Create(kinds.JOB, _job(owner, name, due), told), *_written(owner, status)]


def _missed(owner: Object, plan: schedule.Schedule, now: float) -> list[writes.Write]:
    at: float | None = _since(owner, now)
    for _ in range(_MANY + 1):
        at = plan.after(at) if at is not None else None
        if at is None or at > now:
            return []
    text = f"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew (>{_MANY})"
    return [writes.Note(owner, "Warning", "TooManyMissedTimes", text)]


def _job(owner: Object, name: str, due: float) -> Object:
    template = owner["spec"]["jobTemplate"]
    metadata = template.get("metadata") or {}
    return {
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": metadata.get("labels") or {},
            "annotations": {**(metadata.get("annotations") or {}), SCHEDULED: clocks.rfc3339(due)},
            "ownerReferences": [ownership.reference(kinds.CRON_JOB, owner)],
        },
        "spec": template["spec"],
    }


def _delete(owner: Object, job: Object) -> writes.Delete:
    metadata = job["metadata"]
    told = writes.Told(owner, ("SuccessfulDelete", "Deleted job {name}"), ("FailedDelete", "Deleted job: {error}"))
    return writes.Delete(
        kinds.JOB, metadata["namespace"], metadata["name"], uid=metadata["uid"], propagation="Background", told=told
    )


def _expired(owner: Object, found: Sequence[Object]) -> list[writes.Write]:
    """Finished Jobs past the history limits, oldest first."""
    changes: list[writes.Write] = []
    for type_, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = owner["spec"].get(field)
        ended = [job for job in found if (condition := jobs.finished(job)) and condition["type"] == type_]
        ended = [job for job in ended if "deletionTimestamp" not in job["metadata"]]
        ended.sort(
            key=lambda job: (str((job.get("status") or {}).get("startTime") or ""), str(job["metadata"]["name"]))
        )
        surplus = len(ended) - (default if limit is None else int(limit))
        changes += [_delete(owner, job) for job in ended[: max(0, surplus)]]
    return changes


def _status(snapshot: Snapshot) -> tuple[Object, list[writes.Write]]:
    """The status without a new start, and Events of Jobs that ended."""
    owner = snapshot.cron_job
    old: Object = owner.get("status") or {}
    status = {name: old[name] for name in ("lastScheduleTime", "lastSuccessfulTime") if old.get(name)}
    running = sorted(
        (job for job in snapshot.jobs if not jobs.finished(job)), key=lambda job: str(job["metadata"]["name"])
    )
    status["active"] = [_reference(job) for job in running]
    notes: list[writes.Write] = []
    by_uid = {job["metadata"]["uid"]: job for job in snapshot.jobs}
    for reference in old.get("active") or ():
        ended = by_uid.get(reference["uid"])
        condition = jobs.finished(ended) if ended else None
        if condition is not None:
            text = f"Saw completed job: {reference['name']}, condition: {condition['type']}"
            notes.append(writes.Note(owner, "Normal", "SawCompletedJob", text))
    ends = [str((job.get("status") or {}).get("completionTime") or "") for job in snapshot.jobs]
    latest = max([*ends, str(old.get("lastSuccessfulTime") or "")])
    if latest:
        status["lastSuccessfulTime"] = latest
    return status, notes


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _written(owner: Object, status: Object) -> list[writes.Write]:
    old: Object = {**(owner.get("status") or {})}
    old["active"] = [{**one, "resourceVersion": None} for one in old.get("active") or ()]
    new = {**status, "active": [{**one, "resourceVersion": None} for one in status.get("active") or ()]}
    if conditions.same_status(old, new):
        return []
    return [writes.Update(kinds.CRON_JOB, {**owner, "status": status}, "status")]
