"""A ReplicaSet makes and deletes exactly what is missing or too much, and the right ones."""

from typing import Any

import pytest

from fairlead.controllers import ownership, pods, writes
from fairlead.controllers.replicaset import decide

Object = dict[str, Any]
NOW = 1_700_000_000.0
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs-uid", "controller": True}


def replica_set(replicas: int, **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "rs", "namespace": "default", "uid": "rs-uid", "resourceVersion": "1", "generation": 2},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}},
            **spec,
        },
    }


def pod(name: str, *, ready: float | None = NOW - 100, owner: Object | None = OWNER, **more: Any) -> Object:
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": name,
        "resourceVersion": "1",
        "labels": more.pop("labels", {"app": "a"}),
        "annotations": more.pop("annotations", {}),
        "creationTimestamp": pods.clocks.rfc3339(more.pop("created", NOW - 1000)),
        **({"ownerReferences": [owner]} if owner else {}),
        **more.pop("metadata", {}),
    }
    condition = {
        "type": "Ready",
        "status": str(ready is not None),
        "lastTransitionTime": pods.clocks.rfc3339(ready or NOW),
    }
    status = {"phase": more.pop("phase", "Running"), "conditions": [condition], **more.pop("status", {})}
    return {"metadata": metadata, "spec": {"nodeName": more.pop("node", "n1")}, "status": status}


def step(owner: Object, *found: Object) -> tuple[list[str], int, Object]:
    """(names deleted, pods created, new status or {})."""
    decision = decide.decide(decide.Snapshot(owner, found, NOW))
    deleted, created, status = [], 0, {}
    for write in decision.writes:
        if isinstance(write, writes.Together):
            deleted += [one.name for one in write.writes if isinstance(one, writes.Delete)]
            created += sum(isinstance(one, writes.Create) for one in write.writes)
        elif isinstance(write, writes.Update):
            status = write.body["status"]
    return deleted, created, status


def test_makes_what_is_missing_and_counts_only_active_pods() -> None:
    gone = pod("gone", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    deleted, created, status = step(replica_set(4), pod("a"), gone, pod("failed", phase="Failed"))
    assert (deleted, created) == ([], 3)
    assert (status["replicas"], status["readyReplicas"], status["terminatingReplicas"]) == (1, 1, 1)


def test_a_burst_is_bounded() -> None:
    assert step(replica_set(2000))[1] == decide.BURST


def test_a_set_that_is_being_deleted_makes_nothing() -> None:
    owner = replica_set(3)
    owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert step(owner)[:2] == ([], 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pod("first", node=""), pod("second")),
        (pod("first", phase="Pending"), pod("second")),
        (pod("first", ready=None), pod("second")),
        (pod("first", annotations={pods.DELETION_COST: "-5"}), pod("second")),
        (pod("first"), pod("second", annotations={pods.DELETION_COST: "5"})),
        (pod("first", ready=NOW - 4), pod("second", ready=NOW - 400)),
        (pod("first", status={"containerStatuses": [{"restartCount": 3}]}), pod("second")),
        (pod("first", created=NOW - 10), pod("second", created=NOW - 10_000)),
    ],
    ids=["unassigned", "pending", "not ready", "cheap", "other is dear", "ready later", "restarted more", "younger"],
)
def test_which_pod_goes_first(first: Object, second: Object) -> None:
    assert step(replica_set(1), second, first)[0] == ["first"]
    assert step(replica_set(1), first, second)[0] == ["first"]


def test_of_two_nodes_the_fuller_gives_first() -> None:
    found = [pod("a", node="n1"), pod("b", node="n2"), pod("c", node="n1")]
    assert step(replica_set(2), *found)[0][0] in ("a", "c")


def test_orphans_that_match_are_adopted_before_anything_is_made() -> None:
    decision = decide.decide(decide.Snapshot(replica_set(3), [pod("orphan", owner=None)], NOW))
    (adopt, _status) = decision.writes
    assert isinstance(adopt, writes.Patch)
    assert adopt.patch["metadata"]["ownerReferences"][0]["uid"] == "rs-uid"
    assert adopt.patch["metadata"]["uid"] == "orphan"


def test_a_pod_of_another_owner_is_never_touched() -> None:
    assert step(replica_set(1), pod("other", owner={**OWNER, "uid": "x"}))[:2] == ([], 1)


def test_a_pod_that_no_longer_matches_is_released() -> None:
    decision = decide.decide(decide.Snapshot(replica_set(1), [pod("a", labels={"app": "b"})], NOW))
    release = decision.writes[0]
    assert isinstance(release, writes.Patch)
    assert release.patch["metadata"]["ownerReferences"] is None


def test_availability_waits_for_min_ready_seconds() -> None:
    owner = replica_set(2, minReadySeconds=10)
    decision = decide.decide(decide.Snapshot(owner, [pod("a", ready=NOW - 4), pod("b", ready=NOW - 60)], NOW))
    (update,) = decision.writes
    assert isinstance(update, writes.Update)
    assert (update.body["status"]["readyReplicas"], update.body["status"]["availableReplicas"]) == (2, 1)
    assert decision.again_seconds == pytest.approx(6)


def test_nothing_to_do_is_nothing_written() -> None:
    _, _, status = step(replica_set(1), pod("a"))
    assert decide.decide(decide.Snapshot({**replica_set(1), "status": status}, [pod("a")], NOW)).writes == ()


def test_ownership_reference_blocks_the_owners_deletion() -> None:
    from fairlead.api import kinds

    found = ownership.reference(kinds.REPLICA_SET, replica_set(1))
    assert (found["controller"], found["blockOwnerDeletion"], found["uid"]) == (True, True, "rs-uid")
