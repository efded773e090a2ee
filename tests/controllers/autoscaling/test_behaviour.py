"""Stabilization windows, policies, min and max: the cases of Kubernetes' horizontal_test.go, and properties."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.controllers.autoscaling import behaviour

from . import world

NOW = 1_700_000_000.0
Object = dict[str, Any]


def rules(
    *, pods: int = 0, percent: int = 0, seconds: int = 60, select: str | None = None, window: int | None = 0
) -> Object:
    policies = []
    if pods:
        policies.append({"type": "Pods", "value": pods, "periodSeconds": seconds})
    if percent:
        policies.append({"type": "Percent", "value": percent, "periodSeconds": seconds})
    return {"policies": policies, "selectPolicy": select, "stabilizationWindowSeconds": window}


Aged = tuple[tuple[int, int], ...]


def history(*, ups: Aged = (), downs: Aged = (), asked: Aged = ()) -> behaviour.History:
    def aged(entries: Aged) -> tuple[tuple[float, int], ...]:
        return tuple((NOW - age, count) for age, count in entries)

    return behaviour.History(aged(asked), aged(ups), aged(downs))


def limit(
    current: int,
    wanted: int,
    *,
    up: Object | None = None,
    down: Object | None = None,
    past: behaviour.History | None = None,
    low: int = 1,
    high: int = 1000,
) -> tuple[int, str]:
    spec = {"behavior": {name: given for name, given in (("scaleUp", up), ("scaleDown", down)) if given}}
    replicas, _, why = behaviour.limit_rate(
        behaviour.read(spec),
        past or behaviour.History(),
        current=current,
        wanted=wanted,
        minimum=low,
        maximum=high,
        now=NOW,
    )
    return replicas, why.reason


SCALING: list[Any] = [
    # name, current, wanted, up, down, past, low, high, expected
    ("default: 100 % or 4 pods, the larger", 2, 50, None, None, None, 1, 1000, (6, "ScaleUpLimit")),
    ("default: 100 % of many", 100, 500, None, None, None, 1, 1000, (200, "ScaleUpLimit")),
    ("default: down at once to anything", 100, 3, None, None, None, 1, 1000, (3, "DesiredWithinRange")),
    ("within range", 5, 7, rules(percent=100), None, None, 1, 1000, (7, "DesiredWithinRange")),
    ("more than max", 5, 70, None, None, None, 1, 8, (8, "TooManyReplicas")),
    ("less than min", 5, 1, None, None, None, 3, 8, (3, "TooFewReplicas")),
    ("scaleUp with percent policy", 10, 500, rules(percent=100), None, None, 1, 1000, (20, "ScaleUpLimit")),
    ("scaleUp with percent policy rounds up", 1, 500, rules(percent=10), None, None, 1, 1000, (2, "ScaleUpLimit")),
    ("110 % of ten is eleven", 10, 500, rules(percent=10), None, None, 1, 1000, (11, "ScaleUpLimit")),
    ("scaleUp with pod policy", 10, 500, rules(pods=20), None, None, 1, 1000, (30, "ScaleUpLimit")),
    ("scaleUp, larger of two", 10, 500, rules(pods=20, percent=300), None, None, 1, 1000, (40, "ScaleUpLimit")),
    (
        "scaleUp, smaller of two", 10, 500, rules(pods=20, percent=300, select="Min"), None, None, 1, 1000,
        (30, "ScaleUpLimit"),
    ),
    ("scaleUp disabled", 10, 500, rules(percent=100, select="Disabled"), None, None, 1, 1000, (10, "ScaleUpLimit")),
    (
        "scaleUp with previous events", 10, 500, rules(pods=5), None, history(ups=((30, 4),)), 1, 1000,
        (11, "ScaleUpLimit"),
    ),
    (
        "previous events used the policy up", 10, 500, rules(pods=5), None, history(ups=((30, 5),)), 1, 1000,
        (10, "ScaleUpLimit"),
    ),
    (
        "older events are forgotten", 10, 500, rules(pods=5), None, history(ups=((61, 5),)), 1, 1000,
        (15, "ScaleUpLimit"),
    ),
    (
        "percent counts from the period's start", 20, 500, rules(percent=100), None, history(ups=((30, 10),)), 1, 1000,
        (20, "ScaleUpLimit"),
    ),
    (
        "scale-downs within the period give room", 10, 500, rules(pods=5), None, history(downs=((30, 5),)), 1, 1000,
        (20, "ScaleUpLimit"),
    ),
    ("scaleDown with percent policy", 10, 1, None, rules(percent=20), None, 1, 1000, (8, "ScaleDownLimit")),
    ("scaleDown with percent rounds down", 5, 1, None, rules(percent=10), None, 1, 1000, (4, "ScaleDownLimit")),
    ("scaleDown with pod policy", 10, 1, None, rules(pods=3), None, 1, 1000, (7, "ScaleDownLimit")),
    ("scaleDown, larger of two", 10, 1, None, rules(pods=3, percent=50), None, 1, 1000, (5, "ScaleDownLimit")),
    (
        "scaleDown, smaller of two", 10, 1, None, rules(pods=3, percent=50, select="Min"), None, 1, 1000,
        (7, "ScaleDownLimit"),
    ),
    ("scaleDown disabled", 10, 1, None, rules(percent=50, select="Disabled"), None, 1, 1000, (10, "ScaleDownLimit")),
    (
        "scaleDown with previous events", 10, 1, None, rules(pods=5), history(downs=((30, 4),)), 1, 1000,
        (9, "ScaleDownLimit"),
    ),
    ("to zero", 4, 0, None, rules(percent=100), None, 0, 1000, (0, "DesiredWithinRange")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("current", "wanted", "up", "down", "past", "low", "high", "expected"),
    [pytest.param(*case[1:], id=case[0]) for case in SCALING],
)
def test_scaling_with_rules(
    current: int,
    wanted: int,
    up: Object | None,
    down: Object | None,
    past: behaviour.History | None,
    low: int,
    high: int,
    expected: tuple[int, str],
) -> None:
    assert limit(current, wanted, up=up, down=down, past=past, low=low, high=high) == expected


STABLE: list[Any] = [
    ("no window: at once", 10, 15, 0, 0, ((5, 12),), (15, "ReadyForNewScale")),
    ("up: the lowest recent", 10, 15, 60, 0, ((5, 12), (30, 13)), (12, "ScaleUpStabilized")),
    ("up: not below the current", 10, 15, 60, 0, ((5, 3),), (10, "ScaleUpStabilized")),
    ("up: old ones are forgotten", 10, 15, 60, 0, ((61, 12),), (15, "ReadyForNewScale")),
    ("down: the highest recent", 10, 3, 0, 300, ((5, 7), (200, 8)), (8, "ScaleDownStabilized")),
    ("down: not above the current", 10, 3, 0, 300, ((5, 20),), (10, "ScaleDownStabilized")),
    ("down: old ones are forgotten", 10, 3, 0, 300, ((301, 8),), (3, "ReadyForNewScale")),
]


@pytest.mark.parametrize(
    ("current", "wanted", "up", "down", "asked", "expected"), [pytest.param(*case[1:], id=case[0]) for case in STABLE]
)
def test_stabilization(current: int, wanted: int, up: int, down: int, asked: Aged, expected: tuple[int, str]) -> None:
    spec = {"behavior": {"scaleUp": rules(window=up), "scaleDown": rules(window=down)}}
    replicas, why = behaviour.stabilize(
        behaviour.read(spec), history(asked=asked), current=current, wanted=wanted, now=NOW
    )
    assert (replicas, why.reason) == expected


def test_defaults_are_the_documented_ones() -> None:
    found = behaviour.read({})
    assert (found.up.stabilization_seconds, found.down.stabilization_seconds) == (0, 300)
    assert found.tolerance.up == found.tolerance.down == 0.1
    half = behaviour.read({"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 9}]}}})
    assert half.down.stabilization_seconds == 300 and half.down.policies == (behaviour.Policy("Pods", 1, 9.0),)
    assert half.up == found.up


def test_each_direction_has_a_tolerance_of_its_own() -> None:
    spec = {"behavior": {"scaleUp": {"tolerance": "500m"}, "scaleDown": {"tolerance": "0"}}}
    tolerance = behaviour.read(spec).tolerance
    assert tolerance.holds(1.4) and not tolerance.holds(0.99) and not tolerance.holds(1.6)


policies = st.lists(
    st.builds(
        lambda type_, value, seconds: {"type": type_, "value": value, "periodSeconds": seconds},
        st.sampled_from(["Pods", "Percent"]),
        st.integers(1, 200),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=3,
)
direction = st.builds(
    lambda found, select, window: {"policies": found, "selectPolicy": select, "stabilizationWindowSeconds": window},
    policies,
    st.sampled_from(["Max", "Min", "Disabled"]),
    st.integers(0, 60),
)


@given(
    up=direction,
    down=direction,
    low=st.integers(0, 5),
    more=st.integers(0, 40),
    start=st.integers(0, 40),
    wishes=st.lists(st.integers(0, 80), min_size=1, max_size=60),
)
def test_never_outside_min_and_max_and_never_against_a_policy(
    up: Object, down: Object, low: int, more: int, start: int, wishes: list[int]
) -> None:
    high = max(1, low + more)
    found = behaviour.read({"behavior": {"scaleUp": up, "scaleDown": down}})
    current, past, log = min(max(start, low), high), behaviour.History(), []
    for second, wanted in enumerate(wishes):
        now = NOW + second
        allowed = behaviour.allow(found, past, current=current, wanted=wanted, minimum=low, maximum=high, now=now)
        assert low <= allowed.replicas <= high
        past = allowed.history.scaled(now, before=current, after=allowed.replicas)
        log.append((now, allowed.replicas - current, current))
        _check_policies(found, log, allowed.replicas)
        current = allowed.replicas


def _check_policies(found: behaviour.Behaviour, log: list[tuple[float, int, int]], replicas: int) -> None:
    now, change, current = log[-1]
    if change == 0:
        return
    of = found.up if change > 0 else found.down
    assert of.select != "Disabled"
    bounds = []
    for policy in of.policies:
        recent = [delta for at, delta, _ in log[:-1] if at > now - policy.period_seconds]
        start = current - sum(recent)
        amount = policy.value if policy.type == "Pods" else start * policy.value / 100
        bounds.append(start + amount if change > 0 else start - amount)
    if change > 0:
        bound = min(bounds) if of.select == "Min" else max(bounds)
        assert replicas < bound + 1 or replicas <= current
    else:
        bound = max(bounds) if of.select == "Min" else min(bounds)
        assert replicas > bound - 1 or replicas >= current


@given(level=st.integers(450, 550), replicas=st.integers(1, 50))
def test_a_constant_load_within_tolerance_changes_nothing(level: int, replicas: int) -> None:
    found = [world.pod(index) for index in range(replicas)]
    asked = world.utilization(replicas, 50, found, world.samples(*([level] * replicas)))
    assert asked.replicas == replicas


@given(load=st.integers(1, 40_000), start=st.integers(1, 60))
def test_a_constant_load_settles_and_stays(load: int, start: int) -> None:
    """Whatever the load, after a few steps the number no longer changes."""
    replicas, seen = start, []
    for _ in range(12):
        found = [world.pod(index) for index in range(replicas)]
        asked = world.utilization(replicas, 50, found, world.samples(*([load // replicas] * replicas)))
        replicas = max(1, min(100, asked.replicas))
        seen.append(replicas)
    assert len(set(seen[-6:])) == 1, seen


@given(
    wanted=st.integers(1, 20),
    ratio=st.floats(0.91, 1.09),
    fewer=st.integers(0, 3),
    surge=st.integers(0, 3),
    starting=st.integers(0, 3),
    leaving=st.integers(0, 3),
    ages=st.lists(st.floats(0.0, 1.0), max_size=5),
)
def test_a_rollout_alone_never_changes_the_count(
    wanted: int, ratio: float, fewer: int, surge: int, starting: int, leaving: int, ages: list[float]
) -> None:
    """However many pods are ready, just ready, starting and leaving, while the load is what the wanted number
    carries."""
    ready = max(1, wanted - fewer + surge)
    level = int(wanted * 500 * ratio / ready)
    levels = world.samples(*([level] * ready))
    ages = ages[: ready - 1]
    for index, share in enumerate(ages):
        levels |= world.young(level, index, share=share)
    found = [world.pod(index, age=world.HOT if index < len(ages) else world.COLD) for index in range(ready)]
    found += [world.pod(100 + index, ready=False, phase="Pending") for index in range(starting)]
    found += [world.pod(200 + index, deleted=True) for index in range(leaving)]
    asked = world.utilization(wanted, 50, found, levels)
    assert asked.replicas == wanted
