"""Probes that hang or bring a gigabyte: judged by their status, read within bounds, and nobody else feels them."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.client import protocol
from tests.system import local, test_survival

pytestmark = pytest.mark.system
GIGABYTE = 1_000_000_000
MOST_SENT = 32 << 20
"""What fits into sockets' buffers before a reader that has seen enough closes."""
MOST_GROWTH_KB = 32 << 10
SERVER = f"""
import os, socket, sys, threading, time
status, sent = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def serve(one):
    one.recv(65536)
    if status == "hangs":
        return time.sleep(600)
    count, piece = 0, bytes(1 << 16)
    try:
        one.sendall(f"HTTP/1.1 {{status}} X\\r\\nContent-Length: {GIGABYTE}\\r\\n\\r\\n".encode())
        while count < {GIGABYTE}:
            count += one.send(piece)
    except OSError:
        pass
    os.write(sent, f"{{count}}\\n".encode())
with socket.create_server((os.environ["HOST"], int(os.environ["PORT"]))) as door:
    while True:
        threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""
Object = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "loopback")
    try:
        made.up()
        yield made
    finally:
        local.remove(made)


def _pod(name: str, probe: Object, *command: str) -> Object:
    container = {
        "name": "app",
        "image": "any",
        "command": list(command),
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 1, **probe},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _peak_kb(pid: int) -> int:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


async def _unhealthy(client: protocol.Client, pod: str, words: str) -> None:
    """Returns when an Event says that of the pod."""

    def said(events: list[Object]) -> bool:
        found = [one for one in events if one["involvedObject"]["name"] == pod and one["reason"] == "Unhealthy"]
        return any(words in one["message"] and len(one["message"]) < 2000 for one in found)

    await local.until(client, kinds.EVENT, said)


async def test_probes_that_hang_or_bring_a_gigabyte(cluster: local.Local, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    script, sent = tmp_path / "server.py", tmp_path / "sent"
    script.write_text(SERVER)
    get = {"httpGet": {"path": "/", "port": 8080}}
    shout = {"exec": {"command": ["head", "-c", str(GIGABYTE), "/dev/zero"]}, "timeoutSeconds": 10}
    serve = (sys.executable, "-I", "-S", str(script))
    pods = [
        _pod("large", get, *serve, "200", str(sent)),
        _pod("broken", get, *serve, "500", str(sent)),
        _pod("hangs", get, *serve, "hangs", str(sent)),
        _pod("shouts", shout, "sleep", "600"),
        _pod("good", {"tcpSocket": {"port": 8080}}, *serve, "200", str(sent)),
    ]
    watched = [cluster.state.holder(), test_survival.engine_worker(cluster)]
    before = {pid: _peak_kb(pid) for pid in watched}
    async with asyncio.timeout(40), cluster.client() as client:
        for pod in pods:
            await client.create(kinds.POD, pod, namespace="default")
        await local.until(client, kinds.POD, lambda found: local.ready(found) == ["good", "large", "shouts"])
        await _unhealthy(client, "broken", "statuscode: 500")
        await _unhealthy(client, "hangs", "deadline exceeded")
        found = (await client.list(kinds.POD, namespace="default")).items
        assert local.ready(found) == ["good", "large", "shouts"]
        assert all(one["status"]["containerStatuses"][0]["restartCount"] == 0 for one in found)
    counts = [int(line) for line in sent.read_text().split()]
    assert counts
    assert max(counts) < MOST_SENT, "a gigabyte was read"
    growth = {pid: _peak_kb(pid) - before[pid] for pid in watched}
    print("grown by KiB:", growth, "sent at most:", max(counts))
    assert max(growth.values()) < MOST_GROWTH_KB
