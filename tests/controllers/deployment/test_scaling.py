"""The arithmetic of a roll, with the cases of Kubernetes' own rolling_test.go and sync_test.go."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.controllers.deployment import revisions, scaling, spec

Object = dict[str, Any]


def deployment(replicas: int, *, surge: int | str = 0, unavailable: int | str = 0, **more: Any) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": "foo"},
        "spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}, **more},
    }


def replica_set(name: str, replicas: int, *, available: int = 0, age: int = 0, of: Object | None = None) -> Object:
    annotations = revisions.sizes(of) if of else {}
    stamp = f"2026-01-01T00:00:{age:02}Z"
    return {
        "metadata": {"name": name, "creationTimestamp": stamp, "annotations": annotations},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "availableReplicas": available},
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "old", "new", "expected"),
    [(10, 0, 10, 0, None), (10, 2, 10, 0, 2), (10, 2, 5, 0, 7), (10, 2, 10, 2, None), (10, 2, 2, 11, 10)],
)
def test_reconcile_new_replica_set(replicas: int, surge: int, old: int, new: int, expected: int | None) -> None:
    sets = revisions.Sets(replica_set("new", new, age=2), (replica_set("old", old, age=1),))
    found = scaling.roll_up(deployment(replicas, surge=surge), sets)
    assert found == ({} if expected is None else {"new": expected})


@pytest.mark.parametrize(
    ("unavailable", "old", "new", "ready_old", "ready_new", "expected"),
    [
        pytest.param(0, 10, 0, 10, 0, 9, id="both limits zero: one may be unavailable"),
        pytest.param(2, 10, 0, 10, 0, 8, id="as many as may be unavailable"),
        pytest.param(2, 10, 0, 8, 0, 8, id="unhealthy replicas are cleaned up"),
        pytest.param(2, 10, 0, 9, 0, 8, id="one unhealthy is cleaned up and one ready is scaled down"),
        pytest.param(2, 8, 2, 8, 0, None, id="unavailable new pods do not take old ones away"),
    ],
)
def test_reconcile_old_replica_sets(
    unavailable: int, old: int, new: int, ready_old: int, ready_new: int, expected: int | None
) -> None:
    sets = revisions.Sets(
        replica_set("new", new, available=ready_new, age=2), (replica_set("old", old, available=ready_old, age=1),)
    )
    found = scaling.roll_down(deployment(10, unavailable=unavailable), sets)
    assert found == ({} if expected is None else {"old": expected})


@pytest.mark.parametrize(
    ("before", "after", "new", "old", "expected_new", "expected_old"),
    [
        pytest.param(10, 12, 10, [], 12, [], id="normal scaling event: 10 -> 12"),
        pytest.param(10, 5, 10, [], 5, [], id="normal scaling event: 10 -> 5"),
        pytest.param(5, 10, 2, [3], 4, [6], id="proportional scaling: 5 -> 10"),
        pytest.param(5, 3, 2, [3], 1, [2], id="proportional scaling: 5 -> 3"),
        pytest.param(9, 4, 8, [1], 4, [0], id="proportional scaling: 9 -> 4"),
        pytest.param(7, 10, 2, [3, 2], 3, [4, 3], id="proportional scaling: 7 -> 10"),
        pytest.param(13, 8, 2, [8, 3], 1, [5, 2], id="proportional scaling: 13 -> 8"),
        pytest.param(3, 4, 1, [1, 1], 2, [1, 1], id="leftover distribution: 3 -> 4"),
        pytest.param(3, 2, 1, [1, 1], 1, [1, 0], id="leftover distribution: 3 -> 2"),
        pytest.param(4, 0, 2, [2], 0, [0], id="to zero"),
    ],
)
def test_scale(before: int, after: int, new: int, old: list[int], expected_new: int, expected_old: list[int]) -> None:
    was = deployment(before)
    olds = [replica_set(f"old{index}", size, age=20 - index, of=was) for index, size in enumerate(old)]
    sets = revisions.Sets(replica_set("new", new, age=30, of=was), tuple(olds))
    found = scaling.in_proportion(deployment(after), sets)
    assert found.get("new", new) == expected_new
    assert [found.get(f"old{index}", size) for index, size in enumerate(old)] == expected_old


def test_change_both_surge_and_size() -> None:
    was = deployment(10, surge=3)
    sets = revisions.Sets(replica_set("new", 5, age=2, of=was), (replica_set("old", 8, age=1, of=was),))
    assert scaling.in_proportion(deployment(50, surge=6), sets) == {"new": 22, "old": 34}


def test_change_both_size_and_template() -> None:
    was = deployment(10)
    olds = (replica_set("a", 7, age=2, of=was), replica_set("b", 3, age=1, of=was))
    assert scaling.in_proportion(deployment(14), revisions.Sets(None, olds)) == {"a": 10, "b": 4}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (3, "25%", "25%", (1, 0)),
        (1, "25%", "25%", (1, 0)),
        (10, 0, "5%", (0, 1)),
        (2, "10%", 0, (1, 0)),
        (0, 1, 1, (1, 0)),
        (3, 0, 7, (0, 3)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    found = deployment(replicas, surge=surge, unavailable=unavailable)
    assert (spec.max_surge(found), spec.max_unavailable(found)) == expected


def test_hashes_differ_by_template_and_collision_but_not_by_the_hash_label() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    labelled = {"metadata": {"labels": {"a": "b", spec.HASH: "x"}}, "spec": {"containers": []}}
    assert revisions.template_hash(template, 0) == revisions.template_hash(labelled, 0)
    assert revisions.template_hash(template, 0) != revisions.template_hash(template, 1)
    assert len(revisions.template_hash(template, 0)) == 10


sizes = st.integers(0, 30)


@given(replicas=sizes, surge=st.integers(0, 10), new=sizes, old=st.lists(sizes, max_size=3))
def test_a_new_set_never_takes_more_than_surge_allows(replicas: int, surge: int, new: int, old: list[int]) -> None:
    sets = revisions.Sets(
        replica_set("new", new, age=50), tuple(replica_set(f"o{i}", size, age=i) for i, size in enumerate(old))
    )
    found = scaling.roll_up(deployment(replicas, surge=surge, unavailable=1), sets)
    if found and found["new"] > new:
        assert found["new"] + sum(old) <= replicas + surge


@given(replicas=sizes, unavailable=st.integers(0, 10), data=st.data())
def test_old_sets_never_fall_below_what_must_be_available(replicas: int, unavailable: int, data: st.DataObject) -> None:
    def one(name: str, age: int) -> Object:
        size = data.draw(sizes)
        return replica_set(name, size, available=data.draw(st.integers(0, size)), age=age)

    sets = revisions.Sets(one("new", 50), (one("a", 1), one("b", 2)))
    body = deployment(replicas, surge=1, unavailable=unavailable)
    found = scaling.roll_down(body, sets)
    minimum = replicas - spec.max_unavailable(body)
    available = spec.total_observed(sets.all, "availableReplicas")
    # The pods that go are at worst available ones only when enough are left; unavailable ones go first.
    lost = 0
    for old in sets.old:
        size = found.get(old["metadata"]["name"], spec.replicas(old))
        lost += max(0, spec.observed(old, "availableReplicas") - size)
        assert 0 <= size <= spec.replicas(old)
    assert lost == 0 or available - lost >= minimum
