"""A rollout during which the whole of fairlead dies after any one write: never too few ready, always finished.

Real processes: API server with its store, controllers, node agent, engine, shims. fairlead is killed by its store
after the k-th write that follows the new template (tests/system/crashing.py) and started anew; it adopts the pods and
goes on. Somebody outside watches the Service's endpoints and the pods without a gap (from the revision last seen, over
the deaths), and asks through the Ingress all the while; each pod's process writes down its start.

FAIRLEAD_CRASH_POINTS is how many of the writes are tried (`all`: every one); which ones is drawn with
FAIRLEAD_CRASH_SEED, one of each stretch of the rollout.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.client import errors, protocol
from tests.system import crashing, load, local, web

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]
POINTS = os.environ.get("FAIRLEAD_CRASH_POINTS", "5")
SEED = int(os.environ.get("FAIRLEAD_CRASH_SEED", "5"))
REPLICAS = 3
SURGE = 1
SECONDS = 30
SERVER = """
import os, socket, threading
born = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
with open(os.environ["SEEN"], "a") as seen:
    seen.write(f"{os.environ['HOSTNAME']} {os.getpid()} {born}\\n")
def serve(one):
    seen = b""
    while data := one.recv(65536):
        seen += data
        while b"\\r\\n\\r\\n" in seen:
            seen = seen.partition(b"\\r\\n\\r\\n")[2]
            one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n")
with socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=128) as door:
    while True:
        threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""
Object = dict[str, Any]


@dataclass
class Watcher:
    """Follows one kind from a revision on, over every death of the server; each change once, none left out."""

    cluster: local.Local
    kind: Kind
    revision: str
    objects: dict[str, Object]
    after_change: Callable[[Object], None]

    async def run(self) -> None:
        while True:
            with contextlib.suppress(errors.ApiError, OSError, FileNotFoundError):
                async with self.cluster.client() as client:
                    await self._follow(client)
            await asyncio.sleep(0.02)

    async def _follow(self, client: protocol.Client) -> None:
        changes = client.watch(self.kind, namespace="default", resource_version=self.revision)
        async with contextlib.aclosing(changes):
            async for event in changes:
                self.revision = event.object["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                if event.type == "DELETED":
                    self.objects.pop(event.object["metadata"]["name"], None)
                else:
                    self.objects[event.object["metadata"]["name"]] = event.object
                self.after_change(event.object)


@dataclass
class Proof:
    """The cluster, and what somebody outside has seen of it."""

    cluster: local.Local
    folder: Path
    process: asyncio.subprocess.Process | None = None
    broken: list[str] = field(default_factory=list)
    pods: dict[str, Object] = field(default_factory=dict)
    slices: dict[str, Object] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    history: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=60))
    """What was seen last, to be read when something is wrong."""

    @property
    def plan(self) -> Path:
        return self.folder / "plan"

    async def start(self) -> None:
        """Starts fairlead; returns when it is ready."""
        read_end, write_end = os.pipe()
        with (self.folder / "fairlead.log").open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.system.crashing", "serve", *self.cluster.arguments(),
                "--ready-fd", str(write_end), cwd=local.ROOT, pass_fds=(write_end,), stdout=output, stderr=output,
                env=self.cluster.environment() | {crashing.VARIABLE: str(self.plan)},
            )  # fmt: skip
        os.close(write_end)
        with os.fdopen(read_end) as words:
            word = await asyncio.to_thread(words.readline)
        assert word == "ready\n", word + (self.folder / "fairlead.log").read_text()[-4000:]

    async def end(self) -> None:
        """Ends fairlead, if it runs."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    def starts(self) -> dict[str, list[tuple[str, str]]]:
        """Pod name -> the processes that were started for it, each with when (numbers are given again)."""
        found: dict[str, list[tuple[str, str]]] = {}
        for line in (self.folder / "seen").read_text().splitlines():
            name, pid, born = line.split()
            found.setdefault(name, []).append((pid, born))
        return found

    def look(self, changed: Object) -> None:
        """What must hold after every change."""
        at = f"{changed['kind']} {changed['metadata']['name']} at {changed['metadata']['resourceVersion']}"
        ready = [
            one
            for part in self.slices.values()
            if part["metadata"]["labels"].get("kubernetes.io/service-name") == "web"
            for one in part.get("endpoints") or ()
            if one["conditions"]["ready"]
        ]
        staying = [pod for pod in self.pods.values() if "deletionTimestamp" not in pod["metadata"]]
        names = [one["targetRef"]["name"] for one in ready]
        self.history.append(f"{at}: {_said(changed)}; ready: {names}")
        if len(ready) < REPLICAS:
            self.broken.append(f"{len(ready)} ready endpoints: {at}")
        if len(staying) > REPLICAS + SURGE:
            self.broken.append(f"{len(staying)} pods: {at}")
        self.names |= self.pods.keys()


def _runs(process: tuple[str, str]) -> bool:
    pid, born = process
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] == born
    except OSError:
        return False


def _said(changed: Object) -> str:
    """The gist of an object."""
    if changed["kind"] == "EndpointSlice":
        return str(changed.get("ports"))
    conditions = changed.get("status", {}).get("conditions", ())
    true = [one["type"] for one in conditions if one["status"] == "True"]
    ending = "ending " if "deletionTimestamp" in changed["metadata"] else ""
    return f"{ending}{' '.join(true)} {changed['status'].get('podIP', '')}"


def _manifests(folder: Path) -> Path:
    strategy = {"rollingUpdate": {"maxSurge": SURGE, "maxUnavailable": 0}}
    return web.write(
        folder,
        SERVER,
        host="web.test",
        image="web:0",
        ports=[{"port": 80, "targetPort": 8080}],
        deployment={"replicas": REPLICAS, "strategy": strategy, "revisionHistoryLimit": 1},
        pod={"terminationGracePeriodSeconds": 1},
    )


def finished(deployment: Object) -> bool:
    """As `kubectl rollout status` sees it."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    return bool(
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas") == status.get("replicas") == status.get("availableReplicas") == wanted
    )


@pytest.fixture
async def proof(tmp_path: Path) -> AsyncIterator[Proof]:
    """The application runs, its three pods are ready, and somebody watches."""
    cluster = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "loopback")
    made = Proof(cluster, tmp_path)
    watchers: list[asyncio.Task[None]] = []
    try:
        await made.start()
        await asyncio.to_thread(cluster.up, _manifests(tmp_path))
        async with cluster.client() as client:
            for kind, objects in ((kinds.POD, made.pods), (kinds.ENDPOINT_SLICE, made.slices)):
                page = await client.list(kind, namespace="default")
                objects.update({one["metadata"]["name"]: {"kind": kind.kind, **one} for one in page.items})
                watcher = Watcher(cluster, kind, page.resource_version, objects, made.look)
                watchers.append(asyncio.create_task(watcher.run()))
        yield made
    finally:
        for one in watchers:
            one.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await made.end()
        await asyncio.to_thread(local.remove, cluster)


async def roll(proof: Proof, number: int, *, after: int | None) -> int:
    """Rolls to image `number`, with a death after so many writes; returns how many writes the whole of it took."""
    image = f"web:{number}"
    if after is not None:
        proof.plan.write_bytes(msgspec.json.encode(crashing.Plan("deployments.apps/default/web", image, after)))
    change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}
    begun, names = 0, set(proof.pods)
    async with proof.cluster.client() as client:
        with contextlib.suppress(errors.ApiError):  # the very write may be the last one of that life
            patched = await client.patch(kinds.DEPLOYMENT, "web", change, namespace="default", patch_type="strategic")
            begun = int(patched["metadata"]["resourceVersion"])
    assert proof.process is not None
    if after is not None:
        assert await asyncio.wait_for(proof.process.wait(), SECONDS) == -signal.SIGKILL
        await proof.start()
    try:
        ended, pods = await asyncio.wait_for(_finished(proof), SECONDS)
    except TimeoutError:
        log = (proof.folder / "fairlead.log").read_text()[-4000:]
        raise AssertionError("\n".join([f"not finished, died after {after}", *proof.history, log])) from None
    _check(proof, pods, image, names)
    return ended - begun


async def _finished(proof: Proof) -> tuple[int, list[Object]]:
    """The revision at which the rollout was seen to be over, and its pods."""
    async with proof.cluster.client() as client:
        await local.until(client, kinds.DEPLOYMENT, lambda found: finished(found[0]))
        pods = await local.until(client, kinds.POD, lambda found: len(found) == REPLICAS)
        ended = int((await client.list(kinds.DEPLOYMENT, namespace="default")).resource_version)
        while {pod["metadata"]["name"] for pod in pods} != proof.pods.keys():  # the watcher has seen it, too
            await asyncio.sleep(0.01)
    return ended, pods


def _check(proof: Proof, pods: list[Object], image: str, before: set[str]) -> None:
    assert proof.broken == [], "\n".join(proof.history)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {image}
    assert len(local.ready(pods)) == REPLICAS
    assert proof.names - before == {pod["metadata"]["name"] for pod in pods}, "made more pods than it had to"
    starts = proof.starts()
    assert {name: len(pids) for name, pids in starts.items() if len(pids) > 1} == {}, "started twice"
    alive = {name for name, pids in starts.items() if any(map(_runs, pids))}
    assert alive == {pod["metadata"]["name"] for pod in pods}
    assert {one.name for one in proof.cluster.state.pods.glob("[!.]*")} == {pod["metadata"]["uid"] for pod in pods}
    proof.names = set(alive)


def chosen(writes: int) -> list[int]:
    """The crash points: one of each of so many equal stretches, or all."""
    if POINTS == "all":
        return list(range(writes + 1))
    source, count = random.Random(SEED), min(int(POINTS), writes + 1)
    return [source.randrange(writes * n // count, writes * (n + 1) // count) for n in range(count)]


async def test_a_rollout_in_which_fairlead_dies_after_any_write_finishes(proof: Proof) -> None:
    async with load.Load("127.0.0.1", proof.cluster.edge_port, rate=50, header="web.test") as running:
        writes = await roll(proof, 1, after=None)
        points = chosen(writes)
        print(f"{writes} writes; seed {SEED}; dies after {points}")
        for number, after in enumerate(points, 2):
            await roll(proof, number, after=after)
    assert running.outcome.statuses == Counter({200: running.outcome.due}), running.outcome.failures[:5]
