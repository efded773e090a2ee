"""A wall clock that is set is noticed once, and by how much."""

from fairlead.base import clock as clocks
from fairlead.testing import clock


async def test_a_clock_that_is_set_is_noticed_once() -> None:
    fake = clock.FakeClock()
    jumps = clocks.Jumps(fake)
    await fake.advance(100.0)
    assert jumps.seconds() == 0.0
    fake.jump(-3600.0)
    assert jumps.seconds() == -3600.0
    assert jumps.seconds() == 0.0
    fake.jump(60.0)
    await fake.advance(5.0)
    assert jumps.seconds() == 60.0


async def test_small_corrections_are_told_when_they_add_up() -> None:
    fake = clock.FakeClock()
    jumps = clocks.Jumps(fake)
    told = []
    for _ in range(8):
        fake.jump(0.25)
        told.append(jumps.seconds())
    assert told == [0.0, 0.0, 0.0, 0.0, 1.25, 0.0, 0.0, 0.0]
