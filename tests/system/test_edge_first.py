"""Who came in from outside is served to the end, also where that takes another Service: the edge closes first.

A frontend behind the Ingress answers after a second, and only then asks a second Service, by new connections at layer 4
and at layer 7. The cluster ends in the middle of that, or the second Service's pods do.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from fairlead.cli import lbstats
from tests.system import conftest, foreground, load, local, web

pytestmark = pytest.mark.system
HOST = "web.test"
SERVER = """
import os, socket, threading, time
role = os.environ.get("ROLE", "web")
def ask(port):
    with socket.create_connection((os.environ["API_SERVICE_HOST"], int(os.environ[port])), 5) as one:
        one.sendall(b"GET / HTTP/1.1\\r\\nHost: api\\r\\nConnection: close\\r\\n\\r\\n")
        data = b""
        while got := one.recv(65536):
            data += got
    return data.startswith(b"HTTP/1.1 200")
def answer(head):
    if role == "api":
        return 200
    if head.startswith(b"GET /late"):
        time.sleep(1)
    try:
        return 200 if ask("API_SERVICE_PORT_PLAIN") and ask("API_SERVICE_PORT_REQUESTS") else 502
    except OSError:
        return 502
def serve(one):
    data = b""
    while got := one.recv(65536):
        data += got
        while b"\\r\\n\\r\\n" in data:
            head, _, data = data.partition(b"\\r\\n\\r\\n")
            if head.startswith(b"GET /never"):
                time.sleep(3600)
            one.sendall(b"HTTP/1.1 %d -\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n" % answer(head))
            if b"Connection: close" in head:
                return one.close()
with socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=512) as door:
    while True:
        threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""
PORTS = [
    {"name": "plain", "port": 9080, "targetPort": 8080},
    {"name": "requests", "port": 9081, "targetPort": 8080, "appProtocol": "http"},
]


def _manifests(folder: Path, *, drain_seconds: int = 30) -> Path:
    """The frontend is as `web` has it; the second Service is its program with another role."""
    annotations = {"fairlead.dev/drain-seconds": str(drain_seconds)}
    web.write(folder, SERVER, host=HOST, image="web:1", ports=[{"port": 80, "targetPort": 8080}], deployment={})
    objects = list(yaml.safe_load_all((folder / "all.yaml").read_text()))
    deployment = json.loads(json.dumps(objects[0]).replace('"web"', '"api"'))
    objects[0]["spec"]["template"]["metadata"]["annotations"] = annotations
    deployment["spec"]["replicas"] = 2
    pod = deployment["spec"]["template"]
    pod["metadata"]["annotations"] = annotations
    pod["spec"]["containers"][0]["env"].append({"name": "ROLE", "value": "api"})
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
               "spec": {"selector": {"app": "api"}, "ports": PORTS}}  # fmt: skip
    (folder / "all.yaml").write_text(yaml.safe_dump_all([service, deployment, *objects]))
    return folder


def _load(cluster: local.Local, path: str, rate: int) -> load.Load:
    return load.Load("127.0.0.1", cluster.edge_port, rate=rate, path=path, header=HOST, until_refused=True)


WAYS = (("loopback", "SIGINT"), ("kernel", "down"), ("rootless", "SIGINT"))


@pytest.mark.parametrize(("network", "how"), [way for way in WAYS if way[0] in conftest.MODES])
async def test_a_request_that_still_needs_another_service_has_it_when_the_cluster_ends(
    network: str, how: str, tmp_path: Path
) -> None:
    async with foreground.up(network, _manifests(tmp_path)) as (cluster, process):
        async with _load(cluster, "/", 40) as quick, _load(cluster, "/late", 20) as late:
            await asyncio.gather(quick.reaches(20), late.reaches(20))
            since = time.monotonic()
            ending = asyncio.create_task(asyncio.to_thread(foreground.end, cluster, process, how))
            async with asyncio.timeout(30):
                await asyncio.gather(quick.refuses(5), late.refuses(5))
        async with asyncio.timeout(30):
            await ending
            assert await process.wait() == 0
        took = time.monotonic() - since
        for one in (quick.outcome, late.outcome):
            assert one.failures == []
            assert one.statuses == Counter({200: one.due - len(one.refused)})
            assert one.last_taken < min(one.refused) + 0.1
        print(network, how, f"{took:.1f} s", late.outcome.answered, len(late.outcome.refused))
        assert took < 15  # one second for those in flight, two for idle ones; the rest is the load's and the machine's


async def test_a_request_that_needs_another_service_has_it_when_that_ones_pods_are_replaced_or_evicted(
    tmp_path: Path,
) -> None:
    async with foreground.up(conftest.MODES[-1], _manifests(tmp_path)) as (cluster, _):
        kubectl = functools.partial(asyncio.to_thread, cluster.kubectl)
        load_of = functools.partial(load.Load, "127.0.0.1", cluster.edge_port, header=HOST)
        async with load_of(rate=40, path="/") as quick, load_of(rate=10, path="/late") as late:
            await quick.reaches(20)
            await kubectl("rollout", "restart", "deployment/api")
            await kubectl("rollout", "status", "deployment/api", "--timeout=60s")
            pod = (await kubectl("get", "pods", "-l", "app=api", "-o", "jsonpath={.items[0].metadata.name}")).strip()
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
            place = f"/api/v1/namespaces/default/pods/{pod}/eviction"
            await kubectl("create", "--raw", place, "-f", "-", stdin=json.dumps(body))
            await kubectl("wait", "--for=delete", f"pod/{pod}", "--timeout=60s")
            await kubectl("rollout", "status", "deployment/api", "--timeout=60s")
            await quick.reaches(20)
        assert quick.outcome.all_ok(), quick.outcome.failures[:3]
        assert late.outcome.all_ok(), late.outcome.failures[:3]


@contextlib.asynccontextmanager
async def _in_flight(cluster: local.Local, path: str) -> AsyncIterator[asyncio.Task[tuple[int, str]]]:
    """A request that an endpoint has."""
    connection = load.Connection("127.0.0.1", cluster.edge_port)
    asked = asyncio.create_task(connection.get(path, host=HOST))
    try:
        while True:
            found = json.loads(await lbstats.fetch(str(cluster.state.run / "stats.sock"), "/stats"))
            endpoints = [one for backend in found["backends"].values() for one in backend["endpoints"].values()]
            if any(one["in_flight"] for one in endpoints):
                break
        yield asked
    finally:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        connection.close()


async def test_a_request_that_never_ends_holds_the_end_up_for_the_drains_time_only(tmp_path: Path) -> None:
    async with foreground.up("loopback", _manifests(tmp_path, drain_seconds=2)) as (cluster, process):
        async with _in_flight(cluster, "/never"):
            since = time.monotonic()
            foreground.end(cluster, process, "SIGINT")
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        assert 2 <= time.monotonic() - since < 12


async def test_a_second_ctrl_c_waits_for_nobody_at_the_edge(tmp_path: Path) -> None:
    async with foreground.up("loopback", _manifests(tmp_path)) as (cluster, process):
        async with _in_flight(cluster, "/never"):
            since = time.monotonic()
            foreground.end(cluster, process, "SIGINT")
            connection = load.Connection("127.0.0.1", cluster.edge_port)
            with pytest.raises(ConnectionRefusedError):  # the first was heard
                while True:
                    await connection.get("/", host=HOST)
            foreground.end(cluster, process, "SIGINT")
            async with asyncio.timeout(20):
                await process.wait()
        assert time.monotonic() - since < 12
