"""A replay is the autoscaler's own decision under virtual time."""

from typing import Any
from xml.etree import ElementTree

import pytest

from fairlead.controllers.autoscaling import picture, replay

Object = dict[str, Any]
STEP = [(0.0, 50.0), (30.0, 500.0), (150.0, 50.0), (700.0, 50.0)]


def hpa(**spec: Any) -> Object:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    return {"spec": {"minReplicas": 2, "maxReplicas": 20, "metrics": [metric], **spec}}


MODEL = replay.Model(cost_seconds=0.002, cpu_request_milli=200, cores=1.0, start_seconds=1.0, replicas=2)


def test_a_step_up_and_down() -> None:
    rows = replay.Replay(hpa(), MODEL).run(STEP)
    by_time = {row.at: row for row in rows}
    assert by_time[29].replicas == 2
    assert by_time[45].replicas > 2
    assert by_time[149].replicas == 10  # 500 x 2 ms = 1 core = 10 pods at 50 % of 200m
    assert by_time[400].replicas == 10  # stabilized for five minutes
    assert by_time[700].replicas == 2
    assert all(2 <= row.replicas <= 20 for row in rows)
    assert by_time[300].reason == "ScaleDownStabilized"


def test_it_is_the_same_every_time() -> None:
    assert replay.Replay(hpa(), MODEL).run(STEP) == replay.Replay(hpa(), MODEL).run(STEP)


def test_a_quick_spec_waits_less_and_costs_more() -> None:
    quick = hpa(behavior={"scaleUp": {"policies": [{"type": "Percent", "value": 900, "periodSeconds": 1}]}})
    slow = hpa(behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}]}})
    model = replay.Model(cost_seconds=0.01, cpu_request_milli=500, cores=1.0, start_seconds=1.0, replicas=2)
    found = {name: replay.Replay(spec, model).run(STEP) for name, spec in (("quick", quick), ("slow", slow))}
    sums = {name: replay.summarize(rows) for name, rows in found.items()}
    assert sums["quick"].most_waiting < sums["slow"].most_waiting
    assert sums["quick"].worst_latency_seconds < sums["slow"].worst_latency_seconds


def test_requests_in_flight_and_zero() -> None:
    metric = {"type": "Object", "object": {"metric": {"name": "requests_in_flight"}, "target": {"averageValue": "1"}}}
    metric["object"]["describedObject"] = {"kind": "Service", "name": "web"}  # type: ignore[index]
    spec = hpa(minReplicas=0, metrics=[metric], behavior={"scaleDown": {"stabilizationWindowSeconds": 5}})
    rows = replay.Replay(spec, MODEL).run([(0.0, 0.0), (20.0, 1000.0), (60.0, 0.0), (100.0, 0.0)])
    by_time = {row.at: row for row in rows}
    assert by_time[19].replicas == 0
    assert by_time[59].ready >= 2
    assert by_time[100].replicas == 0


def test_what_is_not_simulated_is_said() -> None:
    metric = {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"averageValue": "1"}}}
    rows = replay.Replay(hpa(metrics=[metric]), MODEL).run([(0.0, 1.0), (5.0, 1.0)])
    assert "not simulated" in rows[-1].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("seconds,rps\n", "empty"),
        ("0,1\nx,2\n", "line 2"),
        ("0,1\n0,2\n", "line 2"),
        ("0,-1\n", "line 1"),
    ],
)
def test_a_broken_trace_says_where(text: str, message: str) -> None:
    with pytest.raises(replay.TraceError, match=message):
        replay.read_trace(text)


def test_a_trace_may_have_a_header() -> None:
    assert replay.read_trace("seconds,requests_per_second\n0,10\n5,20.5\n") == [(0.0, 10.0), (5.0, 20.5)]


def test_the_picture_is_an_svg_with_a_line_for_each_spec() -> None:
    rows = replay.Replay(hpa(), MODEL).run(STEP[:2])
    text = picture.render({"a<b": rows, "other": rows})
    root = ElementTree.fromstring(text)
    lines = [one for one in root if one.tag.endswith("polyline")]
    assert len(lines) == 8
