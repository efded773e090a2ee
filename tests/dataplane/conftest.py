"""A scripted engine and a plane that is connected to it."""

import pathlib
import shutil
import tempfile

import pytest

from fairlead.base import clock
from fairlead.dataplane import engine, nftables
from fairlead.testing import engine_peer, worlds


@pytest.fixture
def folder():
    made = tempfile.mkdtemp(prefix="fl-")  # short: a Unix socket's path has 107 characters at most
    yield pathlib.Path(made)
    shutil.rmtree(made)


@pytest.fixture
def failures():
    found: list[tuple[str, BaseException]] = []
    yield found
    assert not found


@pytest.fixture
async def peer(folder):
    made = engine_peer.EnginePeer(str(folder / "engine.sock"))
    made.start()
    yield made
    made.close()


@pytest.fixture
async def plane(peer, failures):
    made = engine.EnginePlane(
        peer.path, clock=clock.SystemClock(), on_failure=lambda name, error: failures.append((name, error))
    )
    await made.start()
    await made.connected()
    yield made
    await made.close()


@pytest.fixture
def world():
    with worlds.World() as made:
        yield made


@pytest.fixture
async def kernel(world, failures):
    made = nftables.NftablesPlane(
        "fairlead-test",
        clock=clock.SystemClock(),
        on_failure=lambda *failure: failures.append(failure),
        pods=(worlds.PODS4, worlds.PODS6),
        services=(worlds.SERVICES4,),
        gateways=(worlds.GATEWAY,),
    )
    await made.start()
    yield made
    await made.close(purge=True)
