"""Pods that start at once take turns, in the order in which they came; what is not urgent waits for them."""

import asyncio

from fairlead.base import leisure
from fairlead.node import turns
from fairlead.testing import clock


async def test_so_many_start_side_by_side_and_the_others_in_their_order():
    taken = turns.Turns(leisure.Leisure(clock.FakeClock()), at_once=2)
    began = []

    async def start(name):
        turn = await taken.take()
        began.append(name)
        return turn

    starting = [asyncio.ensure_future(start(name)) for name in "abcd"]
    first = await starting[0]
    await starting[1]
    assert began == ["a", "b"]
    first.over()
    first.over()  # says nothing new
    await starting[2]
    assert began == ["a", "b", "c"]
    assert not starting[3].done()
    starting[3].cancel()


async def test_no_moment_is_calm_while_a_pod_has_a_turn_or_waits_for_one():
    time = clock.FakeClock()
    calm = leisure.Leisure(time)
    taken = turns.Turns(calm, at_once=1)
    moment = asyncio.ensure_future(calm.calm(at_most_seconds=60))
    await moment
    first = await taken.take()
    waiting = asyncio.ensure_future(taken.take())
    moment = asyncio.ensure_future(calm.calm(at_most_seconds=60))
    await time.advance(30)
    assert not moment.done()
    waiting.cancel()
    first.over()
    first.over()
    await time.advance(leisure.PAUSE_SECONDS + leisure.LOOK_SECONDS)
    await moment
