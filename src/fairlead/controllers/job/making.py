"""A Job's pods: which are missing, after which delay, and what they look like. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.controllers import conditions, ownership, pods, writes
from fairlead.controllers.job import counting, indexes
from fairlead.controllers.writes import Object

FIRST_BACKOFF_SECONDS = 10.0
MAX_BACKOFF_SECONDS = 600.0


def labels_of(job: Object) -> dict[str, str]:
    """What a Job without a selector of its own selects by."""
    return {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}


def backoff_left_seconds(owned: Sequence[Object], now: float) -> float:
    """Until the next pod may be made: after a failure 10 s, doubling with each that follows without a success."""
    failures = sorted(ended for pod in owned if counting.failed(pod) for ended in [_ended_at(pod)] if ended)
    success = max((_ended_at(pod) or 0.0 for pod in owned if counting.succeeded(pod)), default=0.0)
    recent = [ended for ended in failures if ended > success]
    if not recent:
        return 0.0
    delay = min(FIRST_BACKOFF_SECONDS * float(2 ** min(len(recent) - 1, 10)), MAX_BACKOFF_SECONDS)
    return max(0.0, recent[-1] + delay - now)


def backoff_seconds_after(pod: Object, failures: int, now: float) -> float:
    """Until a pod may take the place of this failed one, the last of so many failures of its index."""
    delay = min(FIRST_BACKOFF_SECONDS * float(2 ** min(max(failures - 1, 0), 10)), MAX_BACKOFF_SECONDS)
    return max(0.0, (_ended_at(pod) or now) + delay - now)


def _ended_at(pod: Object) -> float | None:
    stamps = []
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (one.get("state") or {}).get("terminated") or {}
        if ended.get("finishedAt"):
            stamps.append(clocks.parse_rfc3339(ended["finishedAt"]))
    if stamps:
        return max(stamps)
    condition = conditions.find(pod, "Ready") or {}
    stamp = pod["metadata"].get("deletionTimestamp") or condition.get("lastTransitionTime")
    return clocks.parse_rfc3339(stamp) if stamp else None


def make(job: Object, index: int | None, *, failures: int | None = None) -> writes.Create:
    """A pod of the Job, with its index if it is an Indexed one, and how often that has failed where it counts."""
    pod = pods.from_template(job["spec"]["template"], owner=job, reference=ownership.reference(kinds.JOB, job))
    metadata, spec = pod["metadata"], dict(pod["spec"])
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    labels = {**metadata.get("labels", {}), **labels_of(job), "batch.kubernetes.io/job-name": name}
    labels |= {"controller-uid": uid, "job-name": name}
    body: Object = {**metadata, "labels": labels, "finalizers": [*metadata.get("finalizers", ()), counting.FINALIZER]}
    if index is not None:
        body["generateName"] = f"{name}-{index}-"
        body["annotations"] = {**metadata.get("annotations", {}), indexes.ANNOTATION: str(index)}
        labels[indexes.ANNOTATION] = str(index)
        if failures is not None:
            body["annotations"]["batch.kubernetes.io/job-index-failure-count"] = str(failures)
        spec["hostname"] = f"{name}-{index}"
        for field in ("containers", "initContainers"):
            if spec.get(field):
                spec[field] = [_with_index(container, index) for container in spec[field]]
    told = writes.Told(job, ("SuccessfulCreate", "Created pod: {name}"), ("FailedCreate", "Error creating: {error}"))
    return writes.Create(kinds.POD, {"metadata": body, "spec": spec}, told)


def _with_index(container: Object, index: int) -> Object:
    env = [one for one in container.get("env") or () if one["name"] != "JOB_COMPLETION_INDEX"]
    return {**container, "env": [*env, {"name": "JOB_COMPLETION_INDEX", "value": str(index)}]}


def delete_all(job: Object, found: Sequence[Object]) -> list[writes.Write]:
    """Deletes these pods, all at once."""
    told = writes.Told(job, ("SuccessfulDelete", "Deleted pod: {name}"), ("FailedDelete", "Error deleting: {error}"))
    gone = tuple(writes.delete(kinds.POD, pod, told=told) for pod in found)
    return [writes.Together(gone)] if gone else []


def take_away(job: Object, found: Sequence[Object]) -> list[writes.Write]:
    """Deletes pods that are not wanted any more (suspend, less parallelism). Their finalizer goes first: who was sent
    away has not failed, and must not count against `backoffLimit` (as `deleteJobPods`)."""
    freed = (counting.without_finalizer(pod) for pod in found if counting.tracked(pod))
    return [*freed, *delete_all(job, found)]
