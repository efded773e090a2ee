"""`kill -9` of fairlead leaves pods and traffic alone, and the next start adopts them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from fairlead.api import kinds
from tests.system import load, local
from tests.system.test_my_app import pid_of, steady

pytestmark = pytest.mark.system


async def test_pods_and_traffic_outlive_fairlead_and_are_adopted(my_app: local.Local) -> None:
    async with my_app.client() as client:
        pods = await steady(client, 3)
        objects = (await client.list(kinds.POD, namespace="default", label_selector="app=my-app")).items
    pids = {pod["metadata"]["name"]: await pid_of(my_app, pod) for pod in objects}
    edge = ("127.0.0.1", my_app.edge_port)
    async with load.Load(*edge, rate=200, header="my-app.localhost") as running:
        await running.reaches(50)
        os.kill(my_app.state.holder(), signal.SIGKILL)
        await running.reaches(100)
        await asyncio.to_thread(refused_start, my_app)
        await asyncio.to_thread(my_app.up)
        await running.reaches(100)
        async with my_app.client() as client:
            assert await steady(client, 3) == pods
            after = (await client.list(kinds.POD, namespace="default", label_selector="app=my-app")).items
        assert {pod["metadata"]["name"]: await pid_of(my_app, pod) for pod in after} == pids
        assert [pod["status"]["podIP"] for pod in after] == [pod["status"]["podIP"] for pod in objects]
        await running.reaches(100)
    assert running.outcome.all_ok(), running.outcome.failures[:5]


async def test_a_killed_worker_is_back_at_once_and_loses_no_listener(my_app: local.Local) -> None:
    async with my_app.client() as client:
        await steady(client, 3)
    worker = engine_worker(my_app)
    async with load.Load("127.0.0.1", my_app.edge_port, rate=200, header="my-app.localhost") as running:
        await running.reaches(100)
        os.kill(worker, signal.SIGKILL)
        await running.reaches(300)
    # Only what was in flight in the worker at that moment may fail; every later request is answered.
    assert running.outcome.answered + len(running.outcome.failures) == running.outcome.due
    moments = [at for at, _ in running.outcome.failures]
    assert not moments or max(moments) - min(moments) < 0.5, running.outcome.failures
    assert len(moments) <= 100


def refused_start(cluster: local.Local) -> None:
    """A start that fails leaves what an earlier life left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = cluster.fairlead("up", "-d", *cluster.arguments(), "--api-port", port, check=False)
    assert done.returncode != 0 and port in done.stdout + done.stderr, done.stdout + done.stderr


def _words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def engine_worker(my_app: local.Local) -> int:
    """The pid of the engine's worker of that cluster."""
    socket_path = str(my_app.state.run / "engine.sock").encode()
    masters = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and socket_path in _words(one)]
    for master in masters:
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        if children:
            return int(children[0])
    raise AssertionError("no worker found")
