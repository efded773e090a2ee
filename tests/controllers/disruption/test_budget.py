"""A budget says how many pods may be evicted now."""

from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.controllers import writes
from fairlead.controllers.disruption import decide
from fairlead.testing import workloads

Object = dict[str, Any]
NOW = 1_700_000_000.0


def budget(**spec: Any) -> Object:
    return {
        "metadata": {"name": "b", "namespace": "default", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def pods(ready: int, unready: int = 0) -> list[Object]:
    return [
        {
            "metadata": {"name": f"p{number}"},
            "status": {"conditions": [{"type": "Ready", "status": str(number < ready)}]},
        }
        for number in range(ready + unready)
    ]


def status(of: Object, found: list[Object], scale: int | None) -> Object:
    (write,) = (
        one for one in decide.decide(decide.Snapshot(of, found, scale, NOW)).writes if isinstance(one, writes.Update)
    )
    result: Object = write.body["status"]
    return result


@pytest.mark.parametrize(
    ("spec", "ready", "scale", "allowed", "desired"),
    [
        ({"minAvailable": 2}, 3, None, 1, 2),
        ({"minAvailable": 3}, 3, None, 0, 3),
        ({"minAvailable": "50%"}, 5, 5, 2, 3),
        ({"maxUnavailable": 1}, 3, 3, 1, 2),
        ({"maxUnavailable": 1}, 2, 3, 0, 2),
        ({"maxUnavailable": "30%"}, 10, 10, 3, 7),
        ({"maxUnavailable": 5}, 3, 3, 3, 0),
        ({"maxUnavailable": 1}, 0, 0, 0, 0),
    ],
)
def test_how_many_may_go(spec: Object, ready: int, scale: int | None, allowed: int, desired: int) -> None:
    found = status(budget(**spec), pods(ready), scale)
    assert (found["disruptionsAllowed"], found["desiredHealthy"]) == (allowed, desired)


def test_pods_that_were_just_evicted_count_as_gone_for_two_minutes() -> None:
    of = budget(minAvailable=1)
    of["status"] = {"disruptedPods": {"p0": clocks.rfc3339(NOW - 10), "p1": clocks.rfc3339(NOW - 200), "old": "x"}}
    of["status"]["disruptedPods"].pop("old")
    found = status(of, pods(3), None)
    assert found["currentHealthy"] == 2 and found["disruptionsAllowed"] == 1
    assert list(found["disruptedPods"]) == ["p0"]


def test_a_percentage_of_nothing_known_is_refused() -> None:
    decision = decide.decide(decide.Snapshot(budget(maxUnavailable=1), pods(3), None, NOW))
    (note,) = (one for one in decision.writes if isinstance(one, writes.Note))
    assert note.reason == "NoControllers"
    assert status(budget(maxUnavailable=1), pods(3), None)["disruptionsAllowed"] == 0


async def test_a_budget_follows_its_deployment() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
        body = {"metadata": {"name": "b"}, "spec": budget(maxUnavailable=1)["spec"]}
        await cluster.client.create(kinds.POD_DISRUPTION_BUDGET, body, namespace="default")
        await cluster.settle(1)
        found = await cluster.client.get(kinds.POD_DISRUPTION_BUDGET, "b", namespace="default")
        assert (found["status"]["expectedPods"], found["status"]["disruptionsAllowed"]) == (3, 1)
        await cluster.client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 6}}, namespace="default")
        await cluster.settle(1)
        found = await cluster.client.get(kinds.POD_DISRUPTION_BUDGET, "b", namespace="default")
        assert (found["status"]["expectedPods"], found["status"]["currentHealthy"]) == (6, 6)
