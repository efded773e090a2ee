"""The engine's balancing under virtual time, asked from Python, and a replay that uses it."""

from typing import Any

import pytest

from fairlead.controllers.autoscaling import replay
from fairlead.dataplane import simulator, spawn


def binary() -> str:
    try:
        return spawn.find_binary()
    except spawn.EngineMissing as error:
        pytest.skip(str(error))


def pods(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": f"pod-{number}", **fields} for number in range(count)]


def test_steps_go_on_from_each_other_and_are_the_same_every_time() -> None:
    def run() -> list[dict[str, Any]]:
        with simulator.Simulator(binary(), algorithm="least-request", costs=[0.01]) as world:
            return [world.step(seconds=1, rate=150, endpoints=pods(count)) for count in (1, 2, 3)]

    first = run()
    assert first == run()
    assert first[0]["endpoints"][0]["queued"] > 20  # 1.5 seconds of work came in one
    assert first[2]["waiting"] == 0 and first[2]["mean_seconds"] < first[1]["mean_seconds"]
    assert [len(one["endpoints"]) for one in first] == [1, 2, 3]


def test_what_the_engine_refuses_is_an_error_with_its_reason() -> None:
    wrong = pytest.raises(simulator.SimulatorError, match="there is no algorithm")
    with simulator.Simulator(binary(), algorithm="magic") as world, wrong:
        world.step(seconds=1, rate=1, endpoints=[])


def hpa(target: int) -> dict[str, Any]:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
    }
    return {"spec": {"minReplicas": 2, "maxReplicas": 20, "metrics": [metric]}}


def test_a_replay_scales_alike_and_shows_the_waiting_that_a_formula_cannot() -> None:
    model = replay.Model(cost_seconds=0.02, cpu_request_milli=1000, cores=1.0, start_seconds=1.0, replicas=2)
    trace = [(0.0, 30.0), (20.0, 300.0), (90.0, 300.0)]
    rows = {}
    for algorithm in ("least-request", "random"):
        with simulator.Simulator(binary(), algorithm=algorithm, costs=[model.cost_seconds]) as world:
            rows[algorithm] = replay.Replay(hpa(50), model, balancer=world).run(trace)
    by_formula = replay.Replay(hpa(50), model).run(trace)
    last = {name: found[-1] for name, found in rows.items()}
    assert abs(last["least-request"].replicas - by_formula[-1].replicas) <= 2  # 300 x 20 ms = 6 cores at 50 %
    assert abs(last["least-request"].utilization - by_formula[-1].utilization) < 15
    steady = {name: sum(row.latency_seconds for row in found[-20:]) / 20 for name, found in rows.items()}
    assert 0.02 <= steady["least-request"] < 0.8 * steady["random"]
