"""Pods that misbehave: each is seen on the pod itself, and none hurts its neighbour."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import house as houses
import pytest
import pytest_asyncio
from house import container, ready, state

from fairlead.api import kinds
from fairlead.node import cgroups
from fairlead.node.network import kernel

pytestmark = [
    pytest.mark.usefixtures("own_network"),
    pytest.mark.system,
    pytest.mark.skipif(len(houses.engine()) > 1, reason="needs the engine's shim: set FAIRLEAD_ENGINE"),
]


@pytest_asyncio.fixture
async def node(own_network):
    """A node with a well-behaved pod on it that must still be ready, and quick to answer, at the end."""
    network = kernel.KernelNetwork("tests")
    await network.start()
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    (folder / "pods").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", folder / "pods"], check=True)
    made = houses.House(
        folder,
        network=network,
        namespaces=("mnt", "uts", "ipc", "pid"),
        cgroups=cgroups.Cgroups(folder.name, most_processes=100),
    )
    await made.start()
    await made.create("neighbour", {"terminationGracePeriodSeconds": 1, "containers": [container()]})
    before = await made.until("neighbour", ready)
    try:
        yield made
        after = await made.get("neighbour")
        assert after["status"] == before["status"]
        answer = await made.agent.exec("default", "neighbour", "", ["/bin/echo", "fine"], timeout_seconds=5)
        assert answer.stdout == b"fine\n"
    finally:
        await made.stop()
        made.cgroups.close()
        subprocess.run(["umount", folder / "pods"], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def ended(pod):
    entry = state(pod)
    return entry.get("state", {}).get("terminated") or entry.get("lastState", {}).get("terminated")


@pytest.mark.parametrize(
    ("more", "reason", "message"),
    [
        ({"command": ["no-such-command"]}, "StartError", "not found in PATH"),
        ({"command": ["/etc/passwd"]}, "StartError", "/etc/passwd"),
        ({"command": ["/etc"]}, "StartError", "/etc"),
        ({"workingDir": "/no/such/folder"}, "StartError", "/no/such/folder"),
        ({"command": [""]}, "StartError", "empty"),
    ],
)
async def test_a_start_that_cannot_be_says_what_is_wrong(node, more, reason, message):
    await node.create("bad", {"containers": [{**container(), **more}]})
    pod = await node.until("bad", ended)
    assert ended(pod)["reason"] == reason
    assert message in ended(pod)["message"]
    waits = await node.until("bad", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    assert message in state(waits)["state"]["waiting"]["message"], "it never ran: there is no log to look into"


async def test_a_file_that_may_not_be_read_is_the_applications_error(node):
    (node.folder / "secret").write_text("x")
    (node.folder / "secret").chmod(0o600)
    spec = container(
        sh=f"cat {node.folder}/secret",
        securityContext={"runAsUser": 1234},
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    await node.create("bad", {"restartPolicy": "Never", "containers": [spec]})
    pod = await node.until("bad", ended)
    assert ended(pod)["exitCode"] == 1
    assert "Permission denied" in ended(pod)["message"]


async def test_a_port_that_is_taken_is_the_second_containers_error(node):
    serve = "import socket; s = socket.create_server(('0.0.0.0', 8080)); s.accept()"
    one = {"name": "one", "image": "x", "command": ["python3", "-c", serve]}
    probe = {"exec": {"command": ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8080))"]}}
    init = {**one, "restartPolicy": "Always", "startupProbe": {**probe, "periodSeconds": 1, "timeoutSeconds": 5}}
    serve = serve.replace("s.accept()", "print(1)")
    two = {
        "name": "app", "image": "x", "command": ["python3", "-c", serve],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }  # fmt: skip
    init["command"] = [
        "python3",
        "-c",
        "import socket\ns = socket.create_server(('0.0.0.0', 8080))\nwhile 1: s.accept()",
    ]
    await node.create("bad", {"initContainers": [init], "containers": [two], "terminationGracePeriodSeconds": 1})
    pod = await node.until("bad", ended)
    assert "Address already in use" in ended(pod)["message"]


async def test_a_fork_bomb_stays_in_its_container(node):
    bomb = "import os, time\nn = 0\ntry:\n  while True:\n    n += 1\n    if os.fork() == 0: time.sleep(600)\nexcept OSError: print(n, flush=True); time.sleep(600)"  # noqa: E501
    spec = {"name": "app", "image": "x", "command": ["python3", "-c", bomb]}
    await node.create("bomb", {"terminationGracePeriodSeconds": 1, "containers": [spec]})
    await node.until("bomb", ready)
    async with asyncio.timeout(20):
        async for piece in node.agent.logs("default", "bomb", follow=True):
            assert int(piece) == 100
            break
    await node.client.delete(kinds.POD, "bomb", namespace="default")
    await node.gone("bomb")


async def test_a_flood_of_logs_is_rotated_and_bounded(node):
    spec = container(sh="yes 0123456789012345678901234567890123456789 | head -c 20000000; echo last; sleep 600")
    await node.create("flood", {"terminationGracePeriodSeconds": 1, "containers": [spec]})
    pod = await node.until("flood", ready)
    folder = node.folder / "pods" / pod["metadata"]["uid"] / "logs" / "app"
    async with asyncio.timeout(20):
        while b"last" not in b"".join([piece async for piece in node.agent.logs("default", "flood", tail=1)]):
            assert sum(path.stat().st_size for path in folder.iterdir()) < 60_000_000
            await asyncio.sleep(0.1)
    await node.client.delete(kinds.POD, "flood", namespace="default")
    await node.gone("flood")


async def test_a_full_disk_hurts_who_writes_and_nobody_else(node):
    pod = {"volumes": [{"name": "data", "emptyDir": {}}]}
    spec = container(
        sh="cat /dev/zero > /data/x; echo full; sleep 600", volumeMounts=[{"name": "data", "mountPath": "/data"}]
    )
    chatty = container(sh="while :; do printf '%09999d\\n' 0; sleep 0.02; done")
    await node.create("chatty", {"terminationGracePeriodSeconds": 1, "containers": [chatty]})
    before = await node.until("chatty", ready)
    await node.create("full", {"terminationGracePeriodSeconds": 1, "containers": [spec], **pod})
    await node.until("full", ready)
    async with asyncio.timeout(20):
        while os.statvfs(node.folder / "pods").f_bavail:
            await asyncio.sleep(0.05)
    await node.create("late", {"containers": [container()]})
    async with asyncio.timeout(10):
        while not any(reason == "FailedCreatePodSandBox" for reason, _ in await node.events("late")):
            await asyncio.sleep(0.05)
    assert "No space left" in dict(await node.events("late"))["FailedCreatePodSandBox"]
    await node.client.delete(kinds.POD, "full", namespace="default")
    await node.gone("full")
    await node.until("late", ready)
    async with asyncio.timeout(10):  # what it said meanwhile is lost, and said to be; the container is not
        while b"bytes of log were lost" not in b"".join([one async for one in node.agent.logs("default", "chatty")]):
            await asyncio.sleep(0.05)
    assert (await node.get("chatty"))["status"] == before["status"]


async def test_probes_that_hang_or_shout_are_failures_and_nothing_else(node):
    probes = {
        "hangs": {"exec": {"command": ["/bin/sleep", "600"]}, "periodSeconds": 1, "timeoutSeconds": 1,
                  "failureThreshold": 1},
        "shouts": {"exec": {"command": ["/bin/sh", "-c", "head -c 1000000000 /dev/zero; exit 1"]}, "periodSeconds": 2,
                   "timeoutSeconds": 10, "failureThreshold": 1},
    }  # fmt: skip
    for name, probe in probes.items():
        await node.create(name, {"terminationGracePeriodSeconds": 1, "containers": [container(readinessProbe=probe)]})
    for name in probes:
        async with asyncio.timeout(20):
            while "Unhealthy" not in dict(await node.events(name)):
                await asyncio.sleep(0.1)
        assert len(dict(await node.events(name))["Unhealthy"]) < 2000
        assert not ready(await node.get(name))
