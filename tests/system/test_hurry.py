"""`down` waits for what is in flight; `down --force` and a second Ctrl-C do not."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from tests.system import load, local

pytestmark = pytest.mark.system


async def test_down_finishes_a_request_in_flight_and_force_does_not(empty: local.Local) -> None:
    await asyncio.to_thread(empty.up, local.EXAMPLE)
    slow = asyncio.ensure_future(_slow(empty, 3000))
    await _in_flight(empty)
    await asyncio.to_thread(empty.down)
    assert await slow == 200
    await asyncio.to_thread(empty.up, local.EXAMPLE)
    slow = asyncio.ensure_future(_slow(empty, 20000))
    await _in_flight(empty)
    since = time.monotonic()
    await asyncio.to_thread(empty.down, "--force")
    assert time.monotonic() - since < 15
    with contextlib.suppress(EOFError, OSError):  # cut with the engine, or told by it that the pod is gone
        assert await slow >= 500


async def _slow(cluster: local.Local, milliseconds: int) -> int:
    connection = load.Connection("127.0.0.1", cluster.edge_port)
    status, _ = await connection.get(f"/slow?ms={milliseconds}", host="my-app.localhost")
    connection.close()
    return status


async def _in_flight(cluster: local.Local) -> None:
    """Returns when the engine has the request at an endpoint."""
    import json

    from fairlead.cli import lbstats

    while True:
        found = json.loads(await lbstats.fetch(str(cluster.state.run / "stats.sock"), "/stats"))
        endpoints = [one for backend in found["backends"].values() for one in backend["endpoints"].values()]
        if any(one["in_flight"] for one in endpoints):
            return
