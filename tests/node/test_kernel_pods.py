"""Pods with a network of their own: reached at their address, adopted with it, gone with it."""

import asyncio
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import house as houses
import pytest
import pytest_asyncio
from house import container, ready

from fairlead.api import kinds
from fairlead.node.network import kernel

pytestmark = [pytest.mark.usefixtures("own_network"), pytest.mark.system]
WEB = "import http.server as h; h.HTTPServer(('0.0.0.0', 8080), h.SimpleHTTPRequestHandler).serve_forever()"


@pytest_asyncio.fixture
async def node(own_network):
    network = kernel.KernelNetwork("tests")
    await network.start()
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    made = houses.House(folder, network=network)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def web(**more):
    return {"name": "web", "image": "web:1", "command": ["python3", "-c", WEB], "workingDir": "/usr/share", **more}


async def answers(ip: str) -> bytes:
    async with asyncio.timeout(10):
        while True:
            try:
                reader, writer = await asyncio.open_connection(ip, 8080)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return line


async def test_every_replica_has_an_address_and_the_same_port(node):
    for name in ("a", "b", "c"):
        await node.create(name, {"containers": [web()]})
    pods = [await node.until(name, ready) for name in ("a", "b", "c")]
    addresses = {pod["status"]["podIP"] for pod in pods}
    assert len(addresses) == 3
    assert all(address.startswith("10.244.0.") for address in addresses)
    for address in addresses:
        assert b"200" in await answers(address)
    assert all("fairlead.dev/ports" not in (pod["metadata"].get("annotations") or {}) for pod in pods)


async def test_a_pod_keeps_its_address_and_its_process_over_our_death(node):
    await node.create("a", {"containers": [web()]})
    pod = await node.until("a", ready)
    assert b"200" in await answers(pod["status"]["podIP"])
    await node.stop(stop_pods=False)
    await node.network.release()
    assert b"200" in await answers(pod["status"]["podIP"])
    node.network = kernel.KernelNetwork("tests", wanted="10.244.0.0/16")
    await node.network.start()
    await node.start()
    assert b"200" in await answers(pod["status"]["podIP"])
    async with asyncio.timeout(5):
        while not node.agent._find("default", "a").record.network_ready:
            await asyncio.sleep(0.01)
    assert (await node.get("a"))["status"] == pod["status"]


async def test_a_pods_link_goes_with_it(node):
    await node.create("a", {"containers": [web()]})
    await node.until("a", ready)
    assert "fl" in subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
    await node.client.delete(kinds.POD, "a", namespace="default")
    await node.gone("a")
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
    assert [line for line in links.splitlines() if line.startswith("fl")] == []


async def test_many_pods_start_beside_each_other(node):
    began = time.perf_counter()
    for number in range(12):
        await node.create(f"p{number}", {"containers": [container()]})
    for number in range(12):
        await node.until(f"p{number}", ready)
    assert time.perf_counter() - began < 6.0
