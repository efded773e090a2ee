"""A node agent with all it needs: API server in memory, shim, network, and a gate and prober that tests hold."""

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.client import events, informers
from fairlead.node import agent, images, processes, protocols, settings
from fairlead.node.network import loopback
from fairlead.testing import apiserver

HERE = Path(__file__).parent
NODE = "n1"


def engine() -> tuple[str, ...]:
    """The real shim where it is built, else the fake."""
    found = os.environ.get("FAIRLEAD_ENGINE")
    if found and os.environ.get("FAIRLEAD_TEST_SHIM") != "fake":
        return (found,)
    return (sys.executable, str(HERE / "fake_shim.py"))


class Gate:
    """A DrainGate that remembers, and that a test may hold shut."""

    def __init__(self) -> None:
        self.drains: list[tuple[str, float]] = []
        self.released: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.outcome = protocols.DrainOutcome()

    async def drain(self, address: str, *, deadline_seconds: float) -> protocols.DrainOutcome:
        self.drains.append((address, deadline_seconds))
        self.asked.set()
        await self.open.wait()
        return self.outcome

    def release(self, address: str) -> None:
        self.released.append(address)


class Prober:
    """A Prober whose answers the test gives."""

    def __init__(self) -> None:
        self.watched: dict[str, tuple[protocols.ProbeSpec, Callable[[bool, str], None]]] = {}
        self.changed = asyncio.Event()

    def watch(self, spec: protocols.ProbeSpec, on_result: Callable[[bool, str], None]) -> None:
        self.watched[spec.id] = (spec, on_result)
        self.changed.set()

    def forget(self, probe_id: str) -> None:
        self.watched.pop(probe_id, None)

    async def wait_for(self, word: str) -> str:
        while True:
            self.changed.clear()
            for found in self.watched:
                if found.endswith(word):
                    return found
            await self.changed.wait()

    async def answer(self, word: str, ok: bool, message: str = "") -> None:
        self.watched[await self.wait_for(word)][1](ok, message)


class House:
    """One node with its API server. `restart_agent` is a kill and a new life."""

    def __init__(
        self,
        folder: Path,
        *,
        network: protocols.Network | None = None,
        namespaces: tuple[str, ...] = (),
        cgroups: Any = None,
        clock: Any = None,
    ) -> None:
        self.folder = folder
        self.clock = clock or clocks.SystemClock()
        self.namespaces, self.cgroups = namespaces, cgroups
        self.api = apiserver.FakeApiServer(clock=self.clock)
        self.gate, self.prober = Gate(), Prober()
        self.containers: Any = None
        self.network = network
        self.client = self.api.client("tests")
        self.failures: list[str] = []
        self.images = images.ImageMap()
        self.agent: agent.NodeAgent = None  # type: ignore[assignment]

    async def start(self) -> None:
        if self.network is None:
            self.network = loopback.LoopbackNetwork("tests")
            await self.network.start()
        node_client = self.api.client("node")
        self.informers = informers.Informers(
            node_client, clock=self.clock, rng=random.Random(1), on_failure=self._failed
        )
        self.recorder = events.Recorder(
            node_client, component="kubelet", clock=self.clock, on_failure=self._failed, host=NODE
        )
        self.recorder.start()
        doors = settings.Doors(
            client=node_client,
            informers=self.informers,
            recorder=self.recorder,
            network=self.network,
            processes=processes.ProcessRuntime(
                processes.ProcessSettings(
                    self.folder / "pods",
                    engine(),
                    namespaces=self.namespaces,
                    hide=(str(self.folder / "pods"),) if self.namespaces else (),
                )
            ),
            cgroups=self.cgroups,
            containers=self.containers,
            prober=self.prober,
            gate=self.gate,
            clock=self.clock,
            rng=random.Random(1),
            images=self.images,
        )
        self.agent = agent.NodeAgent(settings.NodeSettings(NODE, self.folder / "pods"), doors, on_failure=self._failed)
        await self.agent.start()

    def _failed(self, name: str, error: BaseException) -> None:
        self.failures.append(f"{name}: {error!r}")

    async def stop(self, *, stop_pods: bool = True) -> None:
        await self.agent.close(stop_pods=stop_pods)
        await self.informers.close()
        await self.recorder.flushed()
        await self.recorder.close()
        if stop_pods:
            await self.network.close()
        assert self.failures == []

    async def create(self, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, **meta},
            "spec": {"nodeName": NODE, **spec},
        }
        return await self.client.create(kinds.POD, body, namespace="default")

    async def get(self, name: str) -> dict[str, Any]:
        return await self.client.get(kinds.POD, name, namespace="default")

    async def until(self, name: str, test: Callable[[dict[str, Any]], Any], *, seconds: float = 20.0) -> dict[str, Any]:
        """The pod, as soon as the test is true of it."""
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                listed = await self.client.list(kinds.POD, namespace="default")
                for pod in listed.items:
                    if pod["metadata"]["name"] == name:
                        seen = pod
                        if test(pod):
                            return pod
                async for event in self.client.watch(
                    kinds.POD, namespace="default", resource_version=listed.resource_version
                ):
                    if event.type != "BOOKMARK" and event.object["metadata"]["name"] == name:
                        seen = event.object
                        if test(seen):
                            return seen
        except TimeoutError:
            raise AssertionError(f"not seen: {json.dumps(seen.get('status'), indent=1)} {self.failures}") from None
        raise AssertionError("the watch ended")

    async def gone(self, name: str, *, seconds: float = 20.0) -> None:
        """Returns when the pod has been deleted."""
        async with asyncio.timeout(seconds):
            listed = await self.client.list(kinds.POD, namespace="default")
            if all(pod["metadata"]["name"] != name for pod in listed.items):
                return
            async for event in self.client.watch(
                kinds.POD, namespace="default", resource_version=listed.resource_version
            ):
                if event.type == "DELETED" and event.object["metadata"]["name"] == name:
                    return

    async def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of the pod's Events, in order."""
        await self.recorder.flushed()
        listed = await self.client.list(kinds.EVENT, namespace="default")
        found = [event for event in listed.items if event["involvedObject"]["name"] == name]
        return [(event["reason"], event["message"]) for event in found]


def container(name: str = "app", *, sh: str = "", **more: Any) -> dict[str, Any]:
    """A container that runs a shell line (`sleep` by default)."""
    line = sh or "trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done"
    return {"name": name, "image": "test:1", "command": ["/bin/sh", "-c", line], **more}


def ready(pod: dict[str, Any]) -> bool:
    return condition(pod, "Ready") == "True"


def condition(pod: dict[str, Any], name: str) -> str:
    for entry in (pod.get("status") or {}).get("conditions") or []:
        if entry["type"] == name:
            return str(entry["status"])
    return ""


def state(pod: dict[str, Any], name: str = "app") -> dict[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    statuses = statuses + ((pod.get("status") or {}).get("initContainerStatuses") or [])
    return next((entry for entry in statuses if entry["name"] == name), {})


def alive(pid: int) -> bool:
    """Whether that process runs (one that has ended and is not reaped yet does not)."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
