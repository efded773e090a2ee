"""Pods of images under Podman, in kernel mode: images without a command go there by themselves."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import engines
import house as houses
import pytest
import pytest_asyncio
from house import ready, state

from fairlead.api import kinds
from fairlead.base import clock
from fairlead.node import containers, images, podman, processes
from fairlead.node.network import kernel

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(engines.missing()), reason=engines.missing() or "-"),
]
QUICK = {"terminationGracePeriodSeconds": 1}  # PID 1 of a container ignores signals that it does not handle
LIMITS = {"nofile": (1024, 1024), "nproc": (1024, 1024)}


@pytest_asyncio.fixture
async def node(own_network):
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    network = kernel.KernelNetwork("tests")
    await network.start()
    made = houses.House(folder, network=network)
    with engines.service() as path:
        inner = processes.ProcessRuntime(processes.ProcessSettings(folder / "pods", houses.engine()))
        made.containers = containers.ContainerRuntime(
            podman.Podman(path, podman.EngineSettings(LIMITS)), inner, timer=clock.SystemClock()
        )
        await made.start()
        try:
            yield made
        finally:
            await made.stop()
            shutil.rmtree(folder, ignore_errors=True)


def web(**more):
    return {
        "name": "app", "image": "localhost/fltest:1", "args": ["httpd", "-f", "-p", "8080", "-h", "/srv"],
        "volumeMounts": [{"name": "site", "mountPath": "/srv"}], **more,
    }  # fmt: skip


async def fetch(ip):
    async with asyncio.timeout(10):
        while True:
            try:
                reader, writer = await asyncio.open_connection(ip, 8080)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer


async def test_an_image_serves_at_the_pods_address_with_its_volumes(node):
    await node.client.create(
        kinds.CONFIG_MAP,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "site"}, "data": {"index.html": "hello"}},
        namespace="default",
    )
    volumes = [{"name": "site", "configMap": {"name": "site"}}]
    await node.create("web", {"containers": [web()], "volumes": volumes, **QUICK})
    pod = await node.until("web", ready)
    assert pod["status"]["podIP"].startswith("10.244.")
    assert state(pod)["containerID"].startswith("container://")
    assert state(pod)["imageID"]
    assert (await fetch(pod["status"]["podIP"])).endswith(b"hello")
    pid = node.agent._find("default", "web").record.containers["app"].pid
    await node.stop(stop_pods=False)
    await node.network.release()
    node.network = kernel.KernelNetwork("tests", wanted="10.244.0.0/16")
    await node.network.start()
    await node.start()
    async with asyncio.timeout(10):
        while not node.agent._find("default", "web").record.network_ready:
            await asyncio.sleep(0.01)
    found = node.agent._find("default", "web").record
    assert (found.containers["app"].pid, found.ip, found.runtime) == (pid, pod["status"]["podIP"], "container")
    assert (await fetch(found.ip)).endswith(b"hello")
    await node.client.delete(kinds.POD, "web", namespace="default")
    await node.gone("web")
    assert not Path(f"/proc/{pid}").exists()


async def test_an_image_that_is_nowhere_waits_and_says_so(node):
    spec = {"containers": [{"name": "app", "image": "localhost:1/none:1"}]}
    await node.create("web", spec)
    pod = await node.until("web", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    assert state(pod)["state"]["waiting"]["reason"] == "ErrImagePull"
    assert "Failed" in [reason for reason, _ in await node.events("web")]


async def test_a_mapped_image_stays_a_process_unless_the_pod_says_otherwise(node):
    node.agent.replace_images(
        images.ImageMap({"localhost/fltest:*": images.ImageCommand(("/bin/sleep", "600"), "/", {})})
    )
    await node.create("process", {"containers": [{"name": "app", "image": "localhost/fltest:1"}]})
    pod = await node.until("process", ready)
    assert state(pod)["containerID"].startswith("process://")
    annotations = {"fairlead.dev/runtime": "container"}
    spec = {"containers": [{"name": "app", "image": "localhost/fltest:1"}], **QUICK}
    await node.create("engine", spec, annotations=annotations)
    pod = await node.until("engine", ready)
    assert state(pod)["containerID"].startswith("container://")
