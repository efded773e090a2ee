"""A workload at zero: what comes is held until a pod answers it, at layer 7 and at layer 4, all of it and once.

FAIRLEAD_COLD_STARTS sets how many cold starts each proof makes (50 is the whole of it, some are enough for a check).
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fairlead.api import kinds
from fairlead.cli import addresses
from fairlead.client import protocol
from tests.system import conftest, load, local

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
COLD_STARTS = int(os.environ.get("FAIRLEAD_COLD_STARTS", "4"))
AT_ONCE = 20
SERVER = """
import http.server, os, socketserver
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(self.path + "\\n")
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size = 128
Server((os.environ.get("HOST", ""), int(os.environ.get("PORT", "8080"))), Answer).serve_forever()
"""


@dataclass
class Sleepy:
    """A cluster whose application is asleep, and the file that it writes what it saw to."""

    cluster: local.Local
    seen: Path

    async def asleep(self, client: protocol.Client) -> None:
        """Sends it to sleep; returns when no pod is left."""
        await client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 0}}, namespace="default")
        await local.until(client, kinds.POD, lambda pods: not pods)


def _manifests(folder: Path, seen: Path, *, idle_seconds: int) -> Path:
    container = {
        "name": "web",
        "image": "web:1",
        "ports": [{"containerPort": 8080}],
        "env": [{"name": "SEEN", "value": str(seen)}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    meta = {"name": "web"}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "web.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    objects = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
         "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}},
        {"apiVersion": "v1", "kind": "Service",
         "metadata": {**meta, "annotations": {"fairlead.dev/idle-seconds": str(idle_seconds)}},
         "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": {"rules": [rule]}},
    ]  # fmt: skip
    (folder / "server.py").write_text(SERVER)
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    images = {"images": {"web:*": {"command": [sys.executable, str(folder / "server.py")]}}}
    (folder / "fairlead.yaml").write_text(yaml.safe_dump(images))
    return folder


@pytest.fixture(params=[mode for mode in conftest.MODES if mode != "rootless"])  # whose Services are not ours to reach
def sleepy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sleepy]:
    cluster = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), request.param)
    seen = tmp_path / "seen"
    try:
        cluster.up(_manifests(tmp_path, seen, idle_seconds=3600))
        yield Sleepy(cluster, seen)
    finally:
        local.remove(cluster)


async def _ask(host: str, port: int, paths: list[str]) -> list[tuple[int, str]]:
    """Each path once, each on a connection of its own, all at once."""

    async def one(path: str) -> tuple[int, str]:
        connection = load.Connection(host, port)
        try:
            return await connection.get(path, host="web.test")
        finally:
            connection.close()

    return await asyncio.gather(*map(one, paths))


async def _cold_starts(sleepy: Sleepy, host: str, port: int) -> None:
    asked = list[str]()
    async with sleepy.cluster.client() as client:
        for turn in range(COLD_STARTS):
            await sleepy.asleep(client)
            paths = [f"/{turn}/{number}" for number in range(AT_ONCE)]
            assert await _ask(host, port, paths) == [(200, path) for path in paths]
            asked += paths
    assert Counter(sleepy.seen.read_text().split()) == Counter(asked)


async def test_cold_starts_at_the_edge_answer_every_request_once(sleepy: Sleepy) -> None:
    await _cold_starts(sleepy, "127.0.0.1", sleepy.cluster.edge_port)


async def test_cold_starts_of_plain_tcp_answer_every_connection_once(sleepy: Sleepy) -> None:
    async with sleepy.cluster.client() as client:
        service = await client.get(kinds.SERVICE, "web", namespace="default")
    port = addresses.carried_port(sleepy.cluster.state.read(), 80)
    await _cold_starts(sleepy, service["spec"]["clusterIP"], port)


async def test_it_goes_to_sleep_by_itself_and_wakes_for_the_next_request(empty: local.Local, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    empty.up(_manifests(tmp_path, seen, idle_seconds=1))
    async with empty.client() as client:
        await local.until(client, kinds.POD, lambda pods: not pods)
        assert await _ask("127.0.0.1", empty.edge_port, ["/first", "/second"]) == [(200, "/first"), (200, "/second")]
        await local.until(client, kinds.POD, lambda pods: not pods)
    assert sorted(seen.read_text().split()) == ["/first", "/second"]
