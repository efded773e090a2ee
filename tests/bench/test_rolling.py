"""Which answers count for which turn."""

from bench import rolling


def test_a_percentile_is_of_what_was_due_in_those_turns_alone():
    quiet, busy = [(10.0, 12.0), (20.0, 22.0)], [(12.0, 13.0)]
    answers = [(9.9, 500.0), (12.0, 7.0), (12.5, 9.0), (13.0, 600.0), (22.0, 700.0)]
    answers += [(10.0 + at / 100, 1.0 + at) for at in range(50)] + [(20.0 + at / 100, 51.0 + at) for at in range(50)]
    assert rolling.p99_ms(answers, busy) == 9.0
    assert rolling.p99_ms(answers, quiet) == 99.0  # of 1 to 100


async def test_turns_follow_one_another():
    turns = rolling.Turns()
    await turns.rest(0.01)
    async with turns.work():
        pass
    (quiet,), (busy,) = turns.quiet, turns.busy
    assert quiet[0] < quiet[1] <= busy[0] < busy[1]
