"""Pods that start at once take turns, in the order in which they came."""

import asyncio

from fairlead.node import turns


async def test_so_many_start_side_by_side_and_the_others_in_their_order():
    taken = turns.Turns(at_once=2)
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
