"""The node agent, our kubelet: runs the pods that the API gives this node, and says how they are.

Promises: one task per pod, none waits for another; `start` adopts the pods that run already and ends those that nobody
knows; `close` either drains and ends all pods, or lets go of them so that the next life adopts them.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fairlead.api import kinds
from fairlead.base import leisure, log, tasks
from fairlead.client import informer
from fairlead.node import (
    adoption,
    claims,
    cri_logs,
    ending,
    folders,
    images,
    lifecycle,
    node_object,
    plans,
    records,
    runtime,
    settings,
    streams,
    turns,
    usage,
    volumes,
    worker,
)

_log = log.get(__name__)
Object = dict[str, Any]
AGAIN_SECONDS = 1.0  # after which a pod whose task failed is looked after again


class NoSuchPod(Exception):
    """This node does not run that pod (or container); the message is for the user."""


class NodeAgent:
    """Runs the pods of one node."""

    def __init__(
        self,
        node: settings.NodeSettings,
        doors: settings.Doors,
        *,
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self._node = node
        self._doors = doors
        self._on_failure = on_failure
        self._nursery = tasks.Nursery("node", on_failure=on_failure)
        self._workers: dict[str, worker.PodWorker] = {}
        self._runs: dict[str, asyncio.Task[Any]] = {}
        self._closing = False
        self._cpu = float(os.cpu_count() or 1)
        self._memory = node_object.memory_bytes()
        if doors.services is None:
            doors.services = plans.ListedServices(doors)
        self._turns = turns.Turns(doors.leisure or leisure.Leisure(doors.clock))
        self._planner = plans.Planner(node, doors)
        self._planner.holder = self._holder
        self._pods = doors.informers.of(kinds.POD, field_selector=f"spec.nodeName={node.name}")
        self._node_object = node_object.NodeObject(node, doors)
        self.usage = usage.PodUsage(self._roots, timer=doors.clock, period_seconds=node.usage_period_seconds)

    async def start(self) -> None:
        """Returns when the node is registered, every pod known is being run and orphans have been ended."""
        self._node.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._doors.informers.start()
        await self._node_object.register()
        await self._pods.wait_synced()
        await self._doors.informers.of(kinds.SERVICE).wait_synced()
        known = {obj["metadata"]["uid"]: obj for obj in self._pods.cache.list()}
        ended = {uid for uid, obj in known.items() if obj.get("status", {}).get("phase") in ("Succeeded", "Failed")}
        adoption.hold_addresses(self._doors.network, self._node.folder, ended)
        ender = self._doors.containers or self._doors.processes
        left = set(await ender.found()) | (self._doors.cgroups.uids() if self._doors.cgroups is not None else set())
        for uid in left - known.keys():
            self._nursery.start(ending.end_orphan(ender, uid, self._doors), name=f"orphan/{uid}")
        self._pods.add_handler(self._changed)
        self._nursery.keep(self._node_object.run, name="heartbeat", clock=self._doors.clock)
        self._nursery.keep(self.usage.run, name="usage", clock=self._doors.clock)

    def _changed(self, change: informer.Change) -> None:
        pod = change.object
        uid = pod["metadata"]["uid"]
        known = self._workers.get(uid)
        if change.new is None:
            if known is not None:
                known.removed()
            return
        if known is not None:
            known.update(pod)
            return
        if not self._closing:  # a controller may still make pods while we end: the next life runs them
            self._run(pod)

    def _run(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        owner = worker.PodWorker(
            pod,
            node=self._node,
            doors=self._doors,
            planner=self._planner,
            place=lambda ip, own, runs: self._place(uid, ip, own_network=own, runs=runs),
            record=records.load(self._node.folder / uid),
            waits=self._turns,
            on_failure=self._on_failure,
        )
        self._workers[uid] = owner
        if not owner.record.started_at:
            meta = pod["metadata"]
            message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {self._node.name}"
            owner.tell("Scheduled", message)
        run = self._nursery.start(owner.run(), name=f"pod/{pod['metadata']['name']}")
        self._runs[uid] = run
        run.add_done_callback(functools.partial(self._ended, owner))

    def _ended(self, owner: worker.PodWorker, run: asyncio.Task[Any]) -> None:
        self._workers.pop(owner.uid, None)
        self._runs.pop(owner.uid, None)
        if not run.cancelled() and run.exception() is not None and not self._closing:
            self._nursery.start(self._run_again(owner), name=f"pod/{owner.record.name} again")

    async def _run_again(self, failed: worker.PodWorker) -> None:
        """A bug ended the pod's task, but the pod is there: it is adopted, as by a next life."""
        await failed.let_go()
        await self._doors.clock.sleep(AGAIN_SECONDS)
        meta = failed.pod["metadata"]
        pod = self._pods.cache.get(f"{meta['namespace']}/{meta['name']}")
        if pod is not None and pod["metadata"]["uid"] == failed.uid and failed.uid not in self._workers:
            self._run(pod)

    def _place(self, uid: str, ip: str, *, own_network: bool, runs: runtime.Runtime) -> plans.Place:
        host_ip, second_host_ip = settings.host_addresses(self._node, self._doors.network)
        folder = self._node.folder / uid
        memory = folders.small(folder) if runs.name == "process" else folder
        return plans.Place(
            ip,
            host_ip,
            own_network,
            folder,
            self._cpu,
            self._memory,
            volumes.PodVolumes(folder, small=memory),
            runs,
            self._workers[uid].record.second_ip,
            second_host_ip,
            memory,
        )

    def replace_images(self, found: images.ImageSource) -> None:
        """Another image map: pods that wait for a command look again at once."""
        self._doors.images = found
        for owner in self._workers.values():
            for known in owner.record.containers.values():
                known.retry_at = 0.0
            owner.wake()

    def pod_ip(self, namespace: str, pod: str) -> str:
        """The pod's address, "" before it has one. Raises NoSuchPod."""
        return self._find(namespace, pod).record.ip

    def ports(self, namespace: str, pod: str) -> dict[str, int]:
        """containerPort to the port really listened on. Raises NoSuchPod."""
        return dict(self._find(namespace, pod).record.ports)

    def _holder(self, pod: Object, claim: str) -> str:
        """The other pod that has that claim for itself: whose containers run, else the older one; "" is none."""
        meta = pod["metadata"]
        mine = self._workers.get(meta["uid"])

        def rank(owner: worker.PodWorker) -> tuple[bool, str, str]:
            ran = any(known.attempts for known in owner.record.containers.values())
            return not ran, owner.pod["metadata"].get("creationTimestamp", ""), owner.uid

        others = [
            owner
            for owner in self._workers.values()
            if owner is not mine
            and owner.record.namespace == meta["namespace"]
            and claim in claims.used_by(owner.pod)
            and (owner.sandbox is not None or any(known.running for known in owner.record.containers.values()))
            and (mine is None or rank(owner) < rank(mine))
        ]
        return others[0].record.name if others else ""

    def uids(self) -> frozenset[str]:
        """Of every pod that is being run."""
        return frozenset(self._workers)

    def _find(self, namespace: str, pod: str) -> worker.PodWorker:
        for owner in self._workers.values():
            if owner.record.namespace == namespace and owner.record.name == pod:
                return owner
        raise NoSuchPod(f'pods "{pod}" not found on node {self._node.name}')

    def _container(self, owner: worker.PodWorker, name: str) -> tuple[Object, records.ContainerRecord]:
        entries = lifecycle.app_containers(owner.pod)
        spec = lifecycle.find(owner.pod, name) if name else entries[0]
        if spec is None:
            raise NoSuchPod(f"container {name} is not valid for pod {owner.record.name}")
        return spec, owner.record.container(spec["name"])

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        follow: bool = False,
        since_seconds: float | None = None,
        since: float | None = None,
        tail: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The container's log as the user sees it. Raises NoSuchPod at once; the iterator ends with the container."""
        owner = self._find(namespace, pod)
        _, known = self._container(owner, container)
        attempt = known.restarts - (1 if previous else 0)
        if attempt < 0 or (not known.id and not known.ended and not known.last):
            why = "previous terminated container" if previous else "container"
            raise NoSuchPod(f'{why} "{known.name}" in pod "{pod}" is waiting to start or was never started')
        if since_seconds is not None:
            since = self._doors.clock.now() - since_seconds
        wanted = cri_logs.Wanted(
            follow=follow and not previous,
            since=since,
            tail=tail,
            timestamps=timestamps,
            limit_bytes=limit_bytes,
        )
        path = owner.folder / "logs" / known.name / f"{attempt}.log"
        return cri_logs.read(path, wanted, goes_on=lambda: known.running and known.restarts == attempt)

    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, timeout_seconds: float = 0.0
    ) -> runtime.ExecResult:
        """Runs a command beside the container's processes, in its environment. Raises NoSuchPod."""
        owner = self._find(namespace, pod)
        spec, known = self._container(owner, container)
        sandbox, place = self._running(owner, known)
        plan = await self._planner.plan(owner.pod, spec, owner.record, place)
        return await sandbox.exec(known.name, list(argv), env=plan.env, cwd=plan.cwd, timeout_seconds=timeout_seconds)

    async def open_exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool, tty: bool
    ) -> streams.Session:
        """A command that somebody talks to. Raises NoSuchPod, StartFailed, SandboxLost."""
        owner = self._find(namespace, pod)
        spec, known = self._container(owner, container)
        sandbox, place = self._running(owner, known)
        plan = await self._planner.plan(owner.pod, spec, owner.record, place)
        env = {"TERM": "xterm", **plan.env} if tty else plan.env
        return await sandbox.stream(known.name, list(argv), env=env, cwd=plan.cwd, stdin=stdin, tty=tty)

    async def open_attach(self, namespace: str, pod: str, container: str) -> streams.Session:
        """The container's own streams. Raises NoSuchPod, StartFailed, SandboxLost."""
        owner = self._find(namespace, pod)
        _, known = self._container(owner, container)
        sandbox, _ = self._running(owner, known)
        return await sandbox.attach(known.name)

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection to that port as from inside the pod (port-forward). Raises NoSuchPod and OSError."""
        owner = self._find(namespace, pod)
        if owner.sandbox is None or owner.place is None:
            raise NoSuchPod(f"pod {pod} does not run")
        at = owner.record.ports.get(str(port), port)
        if not owner.place.own_network:
            return await asyncio.open_connection(owner.record.ip, at)
        try:
            return await asyncio.open_connection(sock=await owner.sandbox.dial(at))
        except ConnectionError:  # who listens on the pod's address alone is not on 127.0.0.1
            return await asyncio.open_connection(owner.record.ip, at)

    def _running(self, owner: worker.PodWorker, known: records.ContainerRecord) -> tuple[runtime.Sandbox, plans.Place]:
        if owner.sandbox is None or not known.running or owner.place is None:
            raise NoSuchPod(f"container {known.name} of pod {owner.record.name} does not run")
        return owner.sandbox, owner.place

    def _roots(self) -> dict[tuple[str, str, str], int]:
        """The processes whose trees are the containers."""
        return {
            (owner.record.namespace, owner.record.name, known.name): known.pid
            for owner in self._workers.values()
            for known in owner.record.containers.values()
            if known.pid
        }

    def hurry(self) -> None:
        """Whatever is ending ends at once: no drain, no hook, no grace."""
        for owner in self._workers.values():
            owner.hurry.set()

    def longest_drain_seconds(self) -> float:
        """The drain deadline of the pod that has the longest one."""
        return max((ending.drain_seconds(owner) for owner in self._workers.values()), default=0.0)

    async def close(self, *, stop_pods: bool, waited_seconds: float = 0.0) -> None:
        """Ends all pods, drained and in parallel; or lets go of them. No new one is begun. The network is not closed
        here. `waited_seconds`: how much of the drains' time clients have had already."""
        self._closing = True
        if stop_pods:
            for owner in list(self._workers.values()):
                owner.shut_down(waited_seconds=waited_seconds)
            await asyncio.gather(*self._runs.values(), return_exceptions=True)
        else:
            for run in self._runs.values():
                run.cancel()
            owners = list(self._workers.values())
            await asyncio.gather(*self._runs.values(), return_exceptions=True)
            for owner in owners:
                await owner.let_go()
        await self._nursery.close()
        await self._doors.processes.close()
        if self._doors.containers is not None:
            await self._doors.containers.close()
