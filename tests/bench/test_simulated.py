"""The simulated scenarios load their servers as much as they say, and the simulator takes them."""

import pytest

from bench import candidates, engine, oracle
from bench.suite import simulated, tail


@pytest.mark.parametrize("scenario", simulated.scenarios(), ids=lambda scenario: scenario.name or "tail")
def test_the_load_is_the_share_of_the_capacity(scenario):
    steps = list(scenario.steps(10.0))
    assert sum(seconds for seconds, _ in steps) == pytest.approx(10.0)
    due = sum(seconds * rate for seconds, rate in steps)
    assert due == pytest.approx(oracle.capacity(scenario.spec, scenario.costs) * scenario.share * 10.0)


def test_a_limit_is_eased_to_half_of_the_gap_to_the_oracle_where_that_is_above_it():
    ours = {"least-request": {"p99_ms": 9.0, "p999_ms": 9.0}, "prequal": {"p99_ms": 9.0, "p999_ms": 9.0}}
    goals = tail.goals(ours, {"a": {"p99_ms": 10.0, "p999_ms": 10.0}}, {"p99_ms": 8.0, "p999_ms": 2.0})
    assert [(goal.limit, goal.met) for goal in goals] == [(1.0, True), (1.0, True), (0.9, True), (0.8, False)]


@pytest.mark.system
async def test_the_default_is_better_than_the_peers_where_one_is_slow_and_one_stalls():
    try:
        engine.binary()
    except candidates.Missing as missing:
        pytest.skip(str(missing))
    scenario = simulated.scenarios()[0]
    found = {name: await simulated.one(scenario, name, 5.0, 1) for name in ("least-request", *simulated.PEERS)}
    own = found.pop("least-request")
    assert all(own["p99_seconds"] < one["p99_seconds"] for one in found.values())
    assert all(own["p999_seconds"] < one["p999_seconds"] for one in found.values())
