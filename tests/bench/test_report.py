"""The harness's own arithmetic: turns, medians, ratios, goals, and the shape of the JSON line."""

import argparse
import json

import pytest

from bench import lab, report, rounds


def test_each_candidate_is_first_in_some_round():
    names = ["a", "b", "c"]
    assert [rounds.order(names, turn)[0] for turn in range(3)] == names
    assert all(sorted(rounds.order(names, turn)) == names for turn in range(7))
    assert rounds.order([], 3) == []


def test_the_median_of_an_even_number_of_rounds_is_between_the_middle_two():
    assert rounds.medians([{"x_ms": 1}, {"x_ms": 9}, {"x_ms": 2}]) == {"x_ms": 2}
    assert rounds.medians([{"x_ms": 1}, {"x_ms": 2}]) == {"x_ms": 1.5}


def test_a_figure_that_a_round_lacks_is_left_out_of_that_median_only():
    assert rounds.medians([{"a": 1.0, "b": 5.0}, {"a": 3.0}]) == {"a": 2.0, "b": 5.0}


def made(**fields):
    base = {"bench": "l7", "main": "cpu_us_per_request", "ours": {"cpu_us_per_request": 9.0, "p99_ms": 1.0}}
    peers = {"haproxy": {"cpu_us_per_request": 10.0}, "envoy": {"cpu_us_per_request": 30.0}}
    return report.Report(**{**base, "peers": peers, **fields})


def test_the_line_has_exactly_the_promised_shape():
    goals = [report.Goal("CPU of haproxy's", 0.9, 0.9)]
    assert json.loads(made(goals=goals).line()) == {
        "bench": "l7",
        "ours": {"cpu_us_per_request": 9.0, "p99_ms": 1.0},
        "peers": {"haproxy": {"cpu_us_per_request": 10.0}, "envoy": {"cpu_us_per_request": 30.0}},
        "ratio": {"haproxy": 0.9, "envoy": 0.3},
        "goals": [{"goal": "CPU of haproxy's", "value": 0.9, "limit": 0.9, "met": True}],
    }


def test_a_peer_that_is_missing_is_named_in_table_and_line():
    found = made(missing={"nginx": "no package offers it"})
    assert json.loads(found.line())["missing"] == {"nginx": "no package offers it"}
    assert "nginx: missing: no package offers it" in found.table()


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "met"),
    [(1.0, 1.0, False, True), (1.01, 1.0, False, False), (0.99, 1.0, True, False), (1.0, 1.0, True, True)],
)
def test_goals_are_met_at_their_limit(value, limit, at_least, met):
    assert report.Goal("g", value, limit, at_least).met is met


def test_what_was_not_measured_meets_no_goal():
    assert not report.Goal("g", None, 1.0).met
    assert not report.Goal("g", None, 0.0, at_least=True).met


def test_without_ours_there_is_no_ratio():
    assert made(ours={}).ratios() == {}


async def test_a_candidate_whose_run_fails_has_no_figures_and_a_reason(tmp_path):
    room = lab.Lab(argparse.Namespace(quick=True, rounds=0, seconds=0.0), tmp_path)
    runs = {"good": 0, "bad": 0}

    async def measure(name):
        runs[name] += 1
        if name == "bad" and runs[name] == 2:
            raise RuntimeError("3 of 9 requests failed")
        return {"x_ms": float(runs[name])}

    missing = {}
    found = await rounds.in_turn(room, {"good": "good", "bad": "bad"}, 3, measure, missing=missing)
    assert found == {"good": {"x_ms": 2.0}}
    assert missing == {"bad": "round 2: 3 of 9 requests failed"}
