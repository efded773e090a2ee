"""The process that starts shims may die; shims and pods do not notice."""

import asyncio
import os
import select
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import house as houses
import pytest

from fairlead.node import children, runtime, shim, spawner

CONFIG = {"pod": "default/web", "namespaces": [], "hostname": "web", "hide": [], "loopback_up": False, "sysctls": {}}


@pytest.fixture
def folder():
    made = Path(tempfile.mkdtemp(prefix="fl-node-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def test_shims_outlive_their_spawner_and_a_new_one_goes_on(folder):
    made = spawner.Spawner(houses.engine(), folder)
    first = await made.start("a", CONFIG, files={}, timeout_seconds=10)
    os.kill(made._child.pid, signal.SIGKILL)
    await made._child.ended.wait()
    connection = await shim.connect(folder / "a")
    assert (await connection.request("state"))["shim_pid"] == first.pid
    await connection.close()
    async with asyncio.timeout(10):
        while made._connection is not None:
            await asyncio.sleep(0)
    second = await made.start("b", CONFIG, files={"agent.json": "{}"}, timeout_seconds=10)
    assert second.pid != first.pid
    assert (folder / "b" / "agent.json").read_text() == "{}"
    for name in ("a", "b"):
        connection = await shim.connect(folder / name)
        await connection.request("stop")
        await connection.close()
    await made.close()


async def test_a_shim_holds_nothing_of_the_spawners_whose_only_children_are_shims(folder):
    made = spawner.Spawner(houses.engine(), folder)
    if len(houses.engine()) > 1:
        pytest.skip("needs the engine's shim: set FAIRLEAD_ENGINE")
    shims = await asyncio.gather(*(made.start(name, CONFIG, files={}, timeout_seconds=10) for name in "abcdef"))
    pids = [one.pid for one in shims]
    assert len(set(pids)) == 6
    theirs = sockets(made._child.pid)
    assert theirs
    children = Path(f"/proc/{made._child.pid}/task/{made._child.pid}/children")
    async with asyncio.timeout(10):
        while set(map(int, children.read_text().split())) != set(pids):
            await asyncio.sleep(0)
    for name, pid in zip("abcdef", pids, strict=True):
        connection = await shim.connect(folder / name)
        assert (await connection.request("state"))["shim_pid"] == pid
        assert not sockets(pid) & theirs
        assert os.listdir(folder / name) == ["shim.sock"]
        await connection.request("stop")
        await connection.close()
    async with asyncio.timeout(10):
        while children.read_text().split():  # those that ended are waited for
            await asyncio.sleep(0)
    await made.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
async def test_the_spawner_stays_in_its_own_namespaces_also_when_a_pod_cannot_start(folder):
    made = spawner.Spawner(houses.engine(), folder)
    if len(houses.engine()) > 1:
        pytest.skip("needs the engine's shim: set FAIRLEAD_ENGINE")
    own = {**CONFIG, "namespaces": ["net", "pid", "uts", "ipc"]}
    bad = ({**own, "sysctls": {"vm.swappiness": "1"}}, {**own, "hostname": "x" * 65}, {**own, "namespaces": ["moon"]})
    started = []
    for number, refused in enumerate(bad):
        with pytest.raises(runtime.StartFailed):
            await made.start("refused", refused, files={}, timeout_seconds=10)
        started.append(await made.start(f"pod-{number}", own, files={}, timeout_seconds=10))
        assert namespaces(made._child.pid) == namespaces(os.getpid())
    pods = [namespaces(os.getpid()), *(namespaces(one.pid) for one in started)]
    for kind in ("net", "pid", "pid_for_children", "uts", "ipc"):
        assert len({pod[kind] for pod in pods}) == 4
    for number, one in enumerate(started):
        connection = await shim.connect(folder / f"pod-{number}")
        assert (await connection.request("state"))["shim_pid"] == one.pid
        await connection.request("stop")
        await connection.close()
    await made.close()


def namespaces(pid):
    return {entry.name: os.readlink(entry) for entry in Path(f"/proc/{pid}/ns").iterdir()}


def sockets(pid):
    links = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return {link for link in links if link.startswith("socket:")}


async def test_a_name_that_leads_elsewhere_is_refused(folder):
    made = spawner.Spawner(houses.engine(), folder)
    if len(houses.engine()) > 1:
        pytest.skip("needs the engine's shim: set FAIRLEAD_ENGINE")
    with pytest.raises(runtime.StartFailed, match="not a plain name"):
        await made.start("no/such", CONFIG, files={}, timeout_seconds=10)
    await made.close()


async def test_what_outlives_us_keeps_none_of_our_descriptors():
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    with ours, theirs:
        child = children.spawn(["sleep", "60"], env=os.environ, stdin=theirs)
    os.close(writing)
    ended = select.select([reading], [], [], 5.0)[0]  # who still has the other end would keep it open
    os.kill(child.pid, signal.SIGKILL)
    await child.ended.wait()
    os.close(reading)
    assert ended
