"""The end of a cluster under load, by Ctrl-C, SIGTERM and `down`: what was accepted is answered, then doors are shut.

Open loop, over new and kept connections, quick requests and some that take a second; through the Ingress, an L7
ClusterIP and an L4 ClusterIP at the same time. The application writes down every request that reaches it: each of those
was answered. Nothing is reset; whoever comes later is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.api import kinds
from fairlead.cli import addresses
from tests.system import conftest, foreground, load, local, web

pytestmark = pytest.mark.system
HOST = "web.test"
SERVER = """
import os, socket, threading, time
seen = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def serve(one):
    data = b""
    while got := one.recv(65536):
        data += got
        while b"\\r\\n\\r\\n" in data:
            head, _, data = data.partition(b"\\r\\n\\r\\n")
            os.write(seen, b".")
            if head.startswith(b"GET /slow"):
                time.sleep(1)
            one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n")
with socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=512) as door:
    while True:
        threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""


def _manifests(folder: Path) -> Path:
    ports = [
        {"name": "plain", "port": 80, "targetPort": 8080},
        {"name": "requests", "port": 81, "targetPort": 8080, "appProtocol": "http"},
    ]
    return web.write(folder, SERVER, host=HOST, image="web:1", ports=ports, deployment={"replicas": 2})


@pytest.fixture
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[foreground.Running]:
    async with foreground.up(request.param, _manifests(tmp_path)) as found:
        yield found


async def _doors(cluster: local.Local) -> dict[str, tuple[str, int]]:
    async with cluster.client() as client:
        service = await client.get(kinds.SERVICE, "web", namespace="default")
    record = cluster.state.read()
    host = service["spec"]["clusterIP"]
    return {
        "edge": ("127.0.0.1", cluster.edge_port),
        "L4": (host, addresses.carried_port(record, 80)),
        "L7": (host, addresses.carried_port(record, 81)),
    }


WAYS = (("loopback", "SIGINT"), ("kernel", "down"))  # `down` sends SIGTERM


@pytest.mark.parametrize(("running", "how"), [way for way in WAYS if way[0] in conftest.MODES], indirect=["running"])
async def test_what_was_accepted_is_answered_and_later_ones_are_refused(
    running: foreground.Running, how: str, tmp_path: Path
) -> None:
    cluster, process = running
    loads = {}
    async with contextlib.AsyncExitStack() as stack:
        for name, place in (await _doors(cluster)).items():
            for path, rate in (("/", 60), ("/slow", 10)):
                one = load.Load(*place, rate=rate, path=path, header=HOST, until_refused=True)
                loads[f"{name} {path}"] = await stack.enter_async_context(one)
        await asyncio.gather(*(one.reaches(12) for one in loads.values()))
        ending = asyncio.create_task(asyncio.to_thread(foreground.end, cluster, process, how))
        try:
            async with asyncio.timeout(30):
                await asyncio.gather(*(one.refuses(5) for one in loads.values()))
        except TimeoutError:
            found = {name: (one.outcome.failures[:3], len(one.outcome.refused)) for name, one in loads.items()}
            raise AssertionError(f"not all refuse: {found}") from None
    async with asyncio.timeout(30):
        await ending
        assert await process.wait() == 0
    for name, one in loads.items():
        assert one.outcome.failures == [], name
        assert one.outcome.statuses == Counter({200: one.outcome.due - len(one.outcome.refused)}), name
        assert one.outcome.last_taken < min(one.outcome.refused) + 0.1, name
        print(how, name, one.outcome.due, len(one.outcome.refused), one.outcome.again)
    answered = sum(one.outcome.answered for one in loads.values())
    assert os.stat(tmp_path / "seen").st_size == answered
    with pytest.raises(ConnectionRefusedError):
        await load.Connection("127.0.0.1", cluster.edge_port).get("/")
