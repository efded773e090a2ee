"""Counts finished pods once and for ever, although pods may vanish at any time. Pure.

Follows KEP-2307: a pod carries the finalizer `batch.kubernetes.io/job-tracking`. Its end is first noted by uid in
`status.uncountedTerminatedPods`, then the finalizer is taken off, and once it is off the uid becomes a number. Each
step may be repeated after a crash without counting anything twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds
from fairlead.controllers import pods, writes
from fairlead.controllers.job import indexes
from fairlead.controllers.writes import Object

FINALIZER = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True, slots=True)
class Count:
    """The numbers (those noted by uid included), the status fields to write, the pods to release after that."""

    succeeded: int
    failed: int
    fields: Object
    release: tuple[Object, ...]


def tracked(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def succeeded(pod: Object) -> bool:
    return pods.phase(pod) == "Succeeded"


def failed(pod: Object) -> bool:
    """Failed, or deleted by others than us before it could succeed."""
    return pods.phase(pod) == "Failed" or (pods.terminating(pod) and tracked(pod) and not succeeded(pod))


def count(
    status: Object,
    owned: Sequence[Object],
    *,
    ignored: frozenset[str],
    completions: int | None,
    held: frozenset[str] = frozenset(),
) -> Count:
    """The counts now. `ignored` uids are not counted by a failure policy; `completions` is of Indexed Jobs only; `held`
    uids are counted and keep their finalizer."""
    noted = status.get("uncountedTerminatedPods") or {}
    known = {uid: word for word in ("succeeded", "failed") for uid in noted.get(word) or ()}
    tracked_uids = {pod["metadata"]["uid"] for pod in owned if tracked(pod)}
    totals = {word: int(status.get(word) or 0) for word in ("succeeded", "failed")}
    for uid, word in known.items():
        totals[word] += uid not in tracked_uids
    left = {uid: word for uid, word in known.items() if uid in tracked_uids}
    done = indexes.parse(status.get("completedIndexes") or "")
    release = []
    for pod in owned:
        uid = pod["metadata"]["uid"]
        word = "succeeded" if succeeded(pod) else "failed" if failed(pod) else ""
        if not word or not tracked(pod):
            continue
        if uid not in held:
            release.append(pod)
        if uid in left or uid in ignored:
            continue
        if word == "succeeded" and completions is not None:
            _complete(pod, done, completions)  # indexes are a set: nothing to count twice
        else:
            left[uid] = word
    return _count(totals, left, done, release, indexed=completions is not None)


def _complete(pod: Object, done: set[int], completions: int) -> None:
    index = indexes.of(pod)
    if index is not None and index < completions:
        done.add(index)


def _count(
    totals: dict[str, int], left: dict[str, str], done: set[int], release: list[Object], *, indexed: bool
) -> Count:
    noted = {word: sorted(uid for uid, found in left.items() if found == word) for word in ("succeeded", "failed")}
    if indexed:
        totals["succeeded"] = len(done)
    fields: Object = {**totals, "uncountedTerminatedPods": {word: uids for word, uids in noted.items() if uids}}
    if indexed:
        fields["completedIndexes"] = indexes.render(done)
    by_uid = 0 if indexed else len(noted["succeeded"])
    return Count(totals["succeeded"] + by_uid, totals["failed"] + len(noted["failed"]), fields, tuple(release))


def without_finalizer(pod: Object) -> writes.Patch:
    left = [name for name in pod["metadata"]["finalizers"] if name != FINALIZER]
    return writes.patch_of(kinds.POD, pod, {"metadata": {"finalizers": left or None}})
