"""Every plane passes the same checks."""

import itertools

from fairlead.base import clock
from fairlead.dataplane import engine
from fairlead.testing import engine_peer, planes


async def test_the_fake():
    async def make():
        return planes.FakePlane()

    await planes.check_plane(make)


class SelfDraining(engine_peer.EnginePeer):
    """Nothing is ever in flight."""

    def _take_drain(self, message):
        super()._take_drain(message)
        self.say({"type": "drained", "id": message["id"], "address": message["address"], "in_flight": 0})


async def test_the_engine_over_its_protocol(folder, failures):
    peers, numbers = [], itertools.count()

    async def make():
        peer = SelfDraining(str(folder / f"{next(numbers)}.sock"))
        peer.start()
        peers.append(peer)
        plane = engine.EnginePlane(peer.path, clock=clock.SystemClock(), on_failure=lambda *f: failures.append(f))
        await plane.start()
        return plane

    await planes.check_plane(make)
    for peer in peers:
        peer.close()
