"""A recording is what a replay reads, and it tells what a request cost."""

import pytest

from fairlead.controllers.autoscaling import recording, replay

LINES = [
    recording.Line(2, 50.0, 1.5, 0.016, 3, 0.1),
    recording.Line(3, 100.0, None, None, 3, None),
    recording.Line(4, 150.0, 4.5, 0.033, 4, 0.3),
]
TEXT = "\n".join([recording.HEADER, *map(recording.render, LINES)])


def test_a_replay_reads_it() -> None:
    assert replay.read_trace(TEXT) == [(2.0, 50.0), (3.0, 100.0), (4.0, 150.0)]


def test_what_a_request_cost_is_over_the_lines_that_tell() -> None:
    assert recording.cost_seconds(TEXT) == pytest.approx(0.4 / 200)


@pytest.mark.parametrize("text", ["", "seconds,rps\n0,5\n", f"{recording.HEADER}\n0,5,,,,\n", "0,5\n1,6\n"])
def test_a_trace_that_does_not_tell_costs_nothing_known(text: str) -> None:
    assert recording.cost_seconds(text) is None
