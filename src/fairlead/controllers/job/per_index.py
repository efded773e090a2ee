"""`backoffLimitPerIndex`, `maxFailedIndexes`, the action FailIndex (KEP-3850) and `successPolicy` (KEP-3998). Pure.

A pod carries how often its index had failed before it. Its own failure is one more, unless a policy ignores it;
past the limit, or by FailIndex, the index has failed and its number goes into `status.failedIndexes`. The newest failed
pod of an index keeps its finalizer until another takes its place: the count would be lost with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.controllers import pods
from fairlead.controllers.job import counting, indexes, making, policy
from fairlead.controllers.writes import Object

ANNOTATION = "batch.kubernetes.io/job-index-failure-count"


@dataclass(frozen=True, slots=True)
class State:
    """The failed indexes, how often the others have failed, which pods keep their finalizer, and until when an index
    waits (seconds left)."""

    failed: frozenset[int] = frozenset()
    failures: Mapping[int, int] | None = None
    held: frozenset[str] = frozenset()
    waits: Mapping[int, float] | None = None


def limit_of(job: Object) -> int | None:
    found = job["spec"].get("backoffLimitPerIndex")
    return None if found is None else int(found)


def observe(job: Object, owned: Sequence[Object], verdicts: Mapping[str, policy.Verdict], now: float) -> State:
    """What the pods say about each index."""
    limit = limit_of(job)
    if limit is None:
        return State()
    failed = indexes.parse((job.get("status") or {}).get("failedIndexes") or "")
    noted = frozenset(failed)
    newest: dict[int, Object] = {}
    for pod in sorted(owned, key=lambda one: (str(one["metadata"].get("creationTimestamp")), before(one))):
        index = indexes.of(pod)
        if index is not None:
            newest[index] = pod
    failures: dict[int, int] = {}
    held: set[str] = set()
    waits: dict[int, float] = {}
    for index, pod in newest.items():
        if not counting.failed(pod):
            continue
        verdict = verdicts.get(pod["metadata"]["uid"], policy.Verdict("Count"))
        failures[index] = before(pod) + (verdict.action != "Ignore")
        if failures[index] > limit or verdict.action == "FailIndex":
            failed.add(index)
        elif verdict.action != "Ignore":
            waits[index] = making.backoff_seconds_after(pod, failures[index], now)
        if index not in noted:
            held.add(pod["metadata"]["uid"])
    return State(frozenset(failed), failures, frozenset(held), waits)


def before(pod: Object) -> int:
    """How often the pod's index had failed before it."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "0")
    return int(text) if text.isdigit() else 0


def end(job: Object, state: State, done: set[int]) -> tuple[str, str, str] | None:
    """(condition, reason, message) when the failed indexes decide the Job."""
    most = job["spec"].get("maxFailedIndexes")
    if most is not None and len(state.failed) > int(most):
        return "Failed", "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if state.failed and len(state.failed | done) >= int(job["spec"].get("completions") or 0):
        return "Failed", "FailedIndexes", "Job has failed indexes"
    return None


def success(job: Object, done: set[int]) -> tuple[str, str, str] | None:
    """(condition, reason, message) when a rule of the success policy is met."""
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        among = indexes.parse(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        counted = done if among is None else done & among
        needed = rule.get("succeededCount")
        met = len(counted) >= int(needed) if needed is not None else among is not None and among <= done
        if met:
            return "Complete", "SuccessPolicy", f"Matched rules at index {number}"
    return None


def active_of(found: Sequence[Object]) -> set[int]:
    """The indexes of pods that run."""
    return {index for pod in found if pods.active(pod) and (index := indexes.of(pod)) is not None}
