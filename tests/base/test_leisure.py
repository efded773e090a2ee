"""Work that may wait does so while something is urgent, but never for longer than it says."""

import asyncio

from fairlead.base import leisure
from fairlead.testing import clock


async def test_a_calm_moment_is_there_at_once_where_nothing_is_urgent() -> None:
    await leisure.Leisure(clock.FakeClock()).calm(at_most_seconds=60)


async def test_the_moment_comes_a_little_after_the_last_urgent_thing() -> None:
    time = clock.FakeClock()
    made = leisure.Leisure(time)
    made.begin()
    made.begin()
    moment = asyncio.ensure_future(made.calm(at_most_seconds=60))
    made.end()
    await time.advance(10)
    made.end()
    await time.advance(leisure.PAUSE_SECONDS / 2)
    assert not moment.done()
    await time.advance(leisure.PAUSE_SECONDS)
    assert moment.done()


async def test_nobody_is_held_for_longer_than_it_says() -> None:
    time = clock.FakeClock()
    made = leisure.Leisure(time)
    made.begin()
    moment = asyncio.ensure_future(made.calm(at_most_seconds=1))
    await time.advance(0.99)
    assert not moment.done()
    await time.advance(0.02)
    assert moment.done()


async def test_who_cannot_wait_any_longer_does_not() -> None:
    time = clock.FakeClock()
    made = leisure.Leisure(time)
    made.begin()
    full: list[int] = []
    moment = asyncio.ensure_future(made.calm(at_most_seconds=60, unless=lambda: bool(full)))
    await time.advance(1)
    full.append(1)
    await time.advance(leisure.LOOK_SECONDS)
    assert moment.done()


def test_much_that_is_urgent_is_a_crowd() -> None:
    made = leisure.Leisure(clock.FakeClock())
    for _ in range(leisure.ROOM):
        made.begin()
    assert not made.crowded
    made.begin()
    assert made.crowded
    made.end()
    assert not made.crowded


async def test_more_waits_for_room_but_not_for_longer_than_it_says() -> None:
    time = clock.FakeClock()
    made = leisure.Leisure(time)
    made.room = 1
    made.begin()
    await made.room_for_more(at_most_seconds=60)
    made.begin()
    more = asyncio.ensure_future(made.room_for_more(at_most_seconds=1))
    await time.advance(0.9)
    assert not more.done()
    await time.advance(0.2)
    assert more.done()
    more = asyncio.ensure_future(made.room_for_more(at_most_seconds=60))
    await time.advance(0.5)
    made.end()
    await time.advance(leisure.LOOK_SECONDS)
    assert more.done()
