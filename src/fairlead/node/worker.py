"""One pod from its arrival to its end: a task that decides, acts, waits for news, and decides again.

The decisions are `lifecycle.decide`, the words `status.render`; this file only carries them out. Container starts and
ends run beside each other; what they learn goes into the record and wakes the task. A pod that is being deleted leaves
`run` through `ending`. Nothing raises to the outside but bugs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from fairlead.base import log, tasks
from fairlead.node import (
    cgroups,
    containers_of,
    ending,
    env,
    folders,
    lifecycle,
    local_storage,
    network_ports,
    plans,
    protocols,
    publishing,
    racing,
    records,
    runtime,
    runtimes,
    settings,
    turns,
    unsupported,
    volumes,
)

_log = log.get(__name__)
Object = dict[str, Any]

_SANDBOX_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class PodWorker:
    """Owns one pod. `update` and `removed` bring news from the API; `run` ends when the pod has."""

    def __init__(
        self,
        pod: Object,
        *,
        node: settings.NodeSettings,
        doors: settings.Doors,
        planner: plans.Planner,
        place: Callable[[str, bool, runtime.Runtime], plans.Place],
        record: records.PodRecord | None,
        waits: turns.Turns,
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.node = node
        self.doors = doors
        self.planner = planner
        self.folder = node.folder / self.uid
        self.record = record or records.PodRecord(self.uid, pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._place = place
        self.runtime = runtimes.choose(pod, doors, self.record.runtime)
        self.nursery = tasks.Nursery(f"pod/{pod['metadata']['name']}", on_failure=on_failure)
        self.publisher = publishing.Publisher(self)
        self.containers = containers_of.Containers(self)
        self.sandbox: runtime.Sandbox | None = None
        self.place: plans.Place | None = None
        self.gone = False
        self.shutting_down = False
        self.waited_seconds = 0.0
        self._sandbox_failures = 0
        self._sandbox_retry_at = 0.0
        self._refreshing = False
        self._turns = waits
        self.turn: turns.Turn | None = None
        self._wake = asyncio.Event()
        self.hurry = asyncio.Event()

    def update(self, pod: Object) -> None:
        """The API has a newer version of the pod."""
        before = self.pod["metadata"].get("deletionGracePeriodSeconds")
        self.pod = pod
        now = pod["metadata"].get("deletionGracePeriodSeconds")
        if before is not None and now is not None and now < before:
            self.hurry.set()
        self.wake()

    def removed(self) -> None:
        """The API has no such pod any more."""
        self.gone = True
        self.hurry.set()
        self.wake()

    def shut_down(self, *, waited_seconds: float = 0.0) -> None:
        """The node stops: end the containers as a deletion would, but leave the object. `waited_seconds` of the drain's
        time are over already."""
        self.shutting_down = True
        self.waited_seconds = waited_seconds
        self.wake()

    def wake(self) -> None:
        """Something is new: decide again."""
        self._wake.set()

    @property
    def deleted(self) -> bool:
        return self.gone or self.shutting_down or bool(self.pod["metadata"].get("deletionTimestamp"))

    def tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        """An Event about the pod."""
        self.doors.recorder.event(self.pod, "Warning" if warning else "Normal", reason, message)

    def save(self) -> None:
        """Keeps the record for our next life, and publishes what changed; both soon."""
        self.publisher.changed()

    def save_now(self) -> None:
        """Keeps what nothing else knows (restart counts) before anything else happens."""
        if self.sandbox is not None:
            records.save(self.folder, self.record)

    async def run(self) -> None:
        """Runs the pod until it is gone."""
        self.publisher.start()
        try:
            while not self.deleted:
                self._wake.clear()
                wake_at = await self._step()
                self.publisher.changed()
                await self._wait(wake_at)
            await ending.end_pod(self)
        finally:
            self.turn_over()
            await self.containers.close()
            await self.nursery.close()
            await self.publisher.close()

    async def _step(self) -> float | None:
        now = self.doors.clock.now()
        if not self.record.started_at:
            self.record.started_at = now
            self._tell_unsupported()
        decision = lifecycle.decide(self.pod, self.record, now)
        if decision.finished:
            await self._finish()
            return decision.wake_at
        if self.sandbox is None:
            if now < self._sandbox_retry_at <= now + _SANDBOX_RETRY_SECONDS[-1]:  # later: the clock was set back
                return self._sandbox_retry_at
            if self.runtime.name == "process":
                self.turn = await self._turns.take()
            if self.deleted or not await self._open():
                self.turn_over()
                return self._sandbox_retry_at
            decision = lifecycle.decide(self.pod, self.record, self.doors.clock.now())
        for name, why in decision.kill.items():
            self.containers.kill(name, why)
        for name in decision.start:
            self.containers.start(name)
        if not decision.start:
            self.turn_over()
        self.containers.tell_backoffs()
        return decision.wake_at

    def turn_over(self) -> None:
        """Other pods may start."""
        if self.turn is not None:
            self.turn.over()
            self.turn = None

    def _tell_unsupported(self) -> None:
        offers = unsupported.Offers(
            own_network=self.doors.network.mode != "loopback",
            images=self.runtime.name == "container",
            mounts=self.runtime.can_mount,
            memory=folders.can_mount(),
            host_ports=self.doors.host_ports is not None,
        )
        found = unsupported.message(self.pod, offers)
        if found:
            self.tell("FieldNotHonoured", found, warning=True)
        limits = any(cgroups.has_limits(entry) for entry in lifecycle.all_containers(self.pod))
        if limits and not self.runtime.own_limits and (why := self._no_cgroups()):
            instead = "each process is held to twice its memory limit and 256 MiB of data"
            self.tell("LimitsNotEnforced", f"resources.limits are not enforced ({why}); {instead}", warning=True)

    def _no_cgroups(self) -> str:
        if self.runtime.name == "container":
            return "containers have no cgroups in network mode rootless"
        return self.doors.cgroups.why if self.doors.cgroups is not None else "cgroups are not in use here"

    async def _wait(self, wake_at: float | None) -> None:
        if wake_at is None:
            await self._wake.wait()
            return
        seconds = max(0.0, wake_at - self.doors.clock.now())
        await racing.first(self._wake.wait(), self.doors.clock.sleep(seconds))

    async def _open(self) -> bool:
        """Makes or adopts the sandbox; False (and an Event) when it cannot be had now."""
        host_network = bool(self.pod["spec"].get("hostNetwork"))
        if not self.record.runtime:
            self.runtime = runtimes.choose(self.pod, self.doors, "")
        try:
            own_network, ip, self.record.second_ip = self._address(host_network)
            self._note_address(ip, own_network=own_network or host_network)
            # On the disk before the sandbox is there: whoever adopts that must not give the pod another address.
            files = {records.FILE: records.encode(self.record).decode()}
            spec = runtime.SandboxSpec(
                self.uid,
                self.pod["metadata"]["namespace"],
                self.pod["metadata"]["name"],
                plans.hostname(self.pod),
                own_network,
                files,
                sysctls=_sysctls(self.pod) if own_network else {},
                wiring=self.doors.network.wiring(self.uid) if own_network and self.runtime.name == "process" else (),
            )
            sandbox = await self.runtime.open(spec, self.containers)
            self.sandbox = sandbox
            if own_network:
                await self.doors.network.attach(self.uid, sandbox.netns_pid, connected=sandbox.connected)
        except (runtime.StartFailed, runtime.SandboxLost, protocols.NetworkUnavailable, OSError) as error:
            await self._not_opened(str(error))
            return False
        self.record.runtime = self.runtime.name
        self.place = self._place(ip, own_network, self.runtime)
        self.record.network_ready = True
        if refused := await self._open_host_ports():
            await self._not_opened(refused)
            return False
        self._sandbox_failures = 0
        await self.containers.adopt(sandbox)
        self.save()
        period = local_storage.refresh_seconds(self.pod)
        if not self._refreshing and period:
            self._refreshing = True
            work = functools.partial(self._look_after_volumes, period)
            self.nursery.keep(work, name="volumes", clock=self.doors.clock)
        return True

    def _note_address(self, ip: str, *, own_network: bool) -> None:
        if self.record.ip != ip or not self.record.ports:
            self.record.ip = ip
            self.record.ports = network_ports.choose(self.pod, ip, own_network=own_network)

    async def _look_after_volumes(self, period_seconds: float) -> None:
        while True:
            await self.doors.clock.sleep(period_seconds * self.doors.rng.uniform(0.9, 1.0))
            if self.place is not None and self.sandbox is not None:
                await self.refresh_volumes(self.place)

    async def refresh_volumes(self, place: plans.Place) -> None:
        """Brings generated volumes up to date; a pod that takes more of the disk than it may is evicted."""
        with contextlib.suppress(env.EnvProblem):
            facts = await self.planner.facts(self.pod, place, volumes.changing(self.pod))
            await place.volumes.refresh(self.pod, facts)
        why = ""
        if local_storage.is_limited(self.pod):
            why = await asyncio.to_thread(local_storage.over_limit, self.pod, place.volumes, self.folder)
        if why and not self.record.failure_reason:
            self.record.failure_reason, self.record.failure_message = "Evicted", why
            self.tell("Evicted", why, warning=True)
            self.wake()

    async def _open_host_ports(self) -> str:
        wanted = network_ports.of_the_host(self.pod, self.record.ip, self.record.ports)
        if not wanted or self.doors.host_ports is None:
            return ""
        name = f"{self.record.namespace}/{self.record.name}"
        return await self.doors.host_ports.open(self.uid, name, wanted)

    def _address(self, host_network: bool) -> tuple[bool, str, str]:
        if host_network:
            return False, *settings.host_addresses(self.node, self.doors.network)
        address = self.doors.network.allocate(self.uid, wanted=self.record.ip)
        return address.own_network, address.ip, address.second

    async def _not_opened(self, why: str) -> None:
        if self.sandbox is not None:
            with contextlib.suppress(runtime.SandboxLost):
                await self.sandbox.stop()
            self.sandbox = None
        delay = _SANDBOX_RETRY_SECONDS[min(self._sandbox_failures, len(_SANDBOX_RETRY_SECONDS) - 1)]
        self._sandbox_failures += 1
        self._sandbox_retry_at = self.doors.clock.now() + delay
        self.tell("FailedCreatePodSandBox", f"Failed to create pod sandbox: {why}", warning=True)

    def sandbox_lost(self, why: str) -> None:
        """The sandbox died by itself: everything in it has ended, a new one is made."""
        if self.sandbox is None or self.deleted:
            return
        self.sandbox = None
        self.record.network_ready = False
        self.tell("SandboxChanged", f"Pod sandbox changed, it will be re-created: {why}")
        if not self.record.initialized or not lifecycle.apps_over(self.pod, self.record):
            self.record.initialized = False
            for container in lifecycle.init_containers(self.pod):
                known = self.record.container(container["name"])
                known.last, known.ended = known.ended or known.last, None
        self.wake()

    async def _finish(self) -> None:
        """Every container has ended for good: the sandbox is not needed, the pod stays to be read."""
        if self.sandbox is None or self.containers.busy:
            return
        sandbox, self.sandbox = self.sandbox, None
        self.record.network_ready = False
        await self._end_sandbox_keeping_logs(sandbox)
        records.save(self.folder, self.record)
        self.publisher.changed()

    async def _end_sandbox_keeping_logs(self, sandbox: runtime.Sandbox) -> None:
        await sandbox.stop(keep_files=True)
        if self.doors.host_ports is not None:
            await self.doors.host_ports.close(self.uid)
        await self.doors.network.detach(self.uid)
        for address in self.record.addresses:
            self.doors.gate.release(address)

    def beside(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Runs something of this pod's beside its task."""
        return self.nursery.start(coroutine, name=name)

    async def let_go(self) -> None:
        """We exit, the pod stays."""
        await self.containers.close()
        await self.nursery.close()
        await self.publisher.close()
        if self.sandbox is not None:
            records.save(self.folder, self.record)
            await self.sandbox.release()


def _sysctls(pod: Object) -> dict[str, str]:
    listed = (pod["spec"].get("securityContext") or {}).get("sysctls") or []
    return {str(entry["name"]): str(entry["value"]) for entry in listed}
