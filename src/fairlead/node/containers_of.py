"""The containers of one pod as they are started, watched and ended: the hands of `worker.PodWorker`.

It listens to the sandbox; every answer goes into the pod's record and wakes the pod's task. Ending a container is
preStop, the stop signal, the grace, SIGKILL, in that order; a shorter grace hurries.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from fairlead.base import log
from fairlead.node import (
    cri_logs,
    hooks,
    last_words,
    lifecycle,
    local_storage,
    pod_files,
    probing,
    racing,
    records,
    runtime,
    status,
)

if TYPE_CHECKING:
    from fairlead.node import worker

_log = log.get(__name__)
Object = dict[str, Any]

_START_ERROR = 128
_LOST = 137
_RETRY_SECONDS, _FIRST_RETRY_SECONDS = 5.0, 0.1
_LONGEST_HOOK_SECONDS = 3600.0


class Containers:
    """All containers of one pod."""

    def __init__(self, owner: worker.PodWorker) -> None:
        self._owner = owner
        self._watching: dict[str, probing.Watching] = {}
        self._plans: dict[str, runtime.ContainerPlan] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._starting: dict[str, asyncio.Task[Any]] = {}
        self._killing: dict[str, asyncio.Task[Any]] = {}
        self._told_backoff: dict[str, int] = {}
        self._early: dict[str, runtime.Exit] = {}
        self._waits: dict[str, float] = {}

    # --- the sandbox's voice ---

    def exited(self, exit: runtime.Exit) -> None:
        """A container has ended."""
        known = self._owner.record.containers.get(exit.container)
        if known is None or (known.pid and exit.pid and known.pid != exit.pid):
            return
        if not known.running:
            if known.starting:  # the news may overtake the answer to our own start
                self._early[exit.container] = exit
            return
        reason = "OOMKilled" if exit.oom else ("Completed" if exit.exit_code == 0 else "Error")
        message = self._last_words(known, exit.exit_code)
        started = known.started_at
        self._note_end(known, records.Ended(exit.exit_code, reason, started, exit.finished_at, known.id, message))

    def _last_words(self, known: records.ContainerRecord, exit_code: int) -> str:
        owner = self._owner
        spec = lifecycle.find(owner.pod, known.name) or {}
        return last_words.read(
            spec,
            file=pod_files.termination_file(owner.place.small if owner.place else owner.folder, known.name),
            log=owner.folder / "logs" / known.name / f"{known.restarts}.log",
            exit_code=exit_code,
        )

    def lost(self, message: str) -> None:
        """The sandbox has died with everything in it."""
        for known in self._owner.record.containers.values():
            if known.running:
                now = self._owner.doors.clock.now()
                self._note_end(known, records.Ended(_LOST, "Error", known.started_at, now, known.id, message))
        self._owner.sandbox_lost(message)

    def _note_end(self, known: records.ContainerRecord, ended: records.Ended) -> None:
        known.pid, known.ended = 0, ended
        known.ready = known.started = False
        known.killing = ""
        known.waiting_reason = known.waiting_message = ""
        watching = self._watching.pop(known.name, None)
        if watching is not None:
            self._owner.beside(watching.close(), name=f"{known.name}/probes")
        self._event_of(known.name).set()
        self._owner.save()
        self._owner.wake()

    def _event_of(self, name: str) -> asyncio.Event:
        if name not in self._ended:
            self._ended[name] = asyncio.Event()
        return self._ended[name]

    # --- adoption ---

    async def adopt(self, sandbox: runtime.Sandbox) -> None:
        """Makes the record agree with what the sandbox runs, and probes what goes on."""
        running = sandbox.running()
        for known in self._owner.record.containers.values():
            if known.running and (known.name not in running or running[known.name].pid != known.pid):
                self._note_missed_end(known, sandbox)
        for name, entry in running.items():
            known = self._owner.record.container(name)
            if not known.running:
                known.pid, known.started_at, known.ended = entry.pid, entry.started_at, None
                known.started = known.ready = False
                known.id = known.id or status.container_id(self._owner.uid, name, entry.pid, entry.started_at)
            spec = lifecycle.find(self._owner.pod, name)
            if spec is not None:
                await self._rewatch(spec, known)

    def _note_missed_end(self, known: records.ContainerRecord, sandbox: runtime.Sandbox) -> None:
        for exit in sandbox.ended():
            if exit.container == known.name and exit.pid in (0, known.pid):
                self.exited(exit)
                return
        why = "The container was gone when fairlead came back"
        now = self._owner.doors.clock.now()
        self._note_end(known, records.Ended(_LOST, "ContainerStatusUnknown", known.started_at, now, known.id, why))

    async def _rewatch(self, spec: Object, known: records.ContainerRecord) -> None:
        plan = await self._plan_again(spec)
        if plan is not None:
            self._plans[known.name] = plan
            self._event_of(known.name).clear()
            await self._watch(spec, known, plan, afresh=False)

    async def _plan_again(self, spec: Object) -> runtime.ContainerPlan | None:
        owner = self._owner
        assert owner.place is not None
        try:
            return await owner.planner.plan(owner.pod, spec, owner.record, owner.place, restarts=0)
        except runtime.StartFailed as error:
            owner.tell("Unhealthy", f"probes of {spec['name']} cannot be taken up: {error.message}", warning=True)
            return None

    # --- starting ---

    @property
    def busy(self) -> bool:
        return bool(self._starting or self._killing)

    def start(self, name: str) -> None:
        """Starts that container beside the pod's task."""
        known = self._owner.record.container(name)
        spec = lifecycle.find(self._owner.pod, name)
        assert spec is not None
        known.starting = True
        task = self._owner.beside(self._start(spec, known), name=f"{name}/start")
        self._starting[name] = task
        task.add_done_callback(lambda _: self._start_over(name))

    def _start_over(self, name: str) -> None:
        self._starting.pop(name, None)
        self._owner.turn_over()
        self._owner.record.container(name).starting = False
        self._owner.wake()

    async def _start(self, spec: Object, known: records.ContainerRecord) -> None:
        owner = self._owner
        sandbox, place = owner.sandbox, owner.place
        assert sandbox is not None
        assert place is not None
        restarts = known.restarts + (1 if known.ended is not None else 0)
        if restarts > 1:
            await asyncio.to_thread(cri_logs.forget, place.folder / "logs" / known.name, restarts)
        try:
            plan = await owner.planner.plan(owner.pod, spec, owner.record, place, restarts=restarts)
            owner.tell("Pulled", _pulled(plan, owner.runtime.name))
            started = await sandbox.start(plan)
        except runtime.StartFailed as error:
            self._not_started(known, error)
            return
        except runtime.SandboxLost:
            return
        self._note_attempt(known)
        known.id, known.pid, known.started_at = started.id, started.pid, started.at
        known.image_id, known.image = started.image_id or plan.image, plan.image
        known.waiting_reason = known.waiting_message = ""
        known.retry_at = known.pull_backoff_seconds = 0.0
        self._waits.pop(known.name, None)
        self._plans[known.name] = plan
        self._event_of(known.name).clear()
        early = self._early.pop(known.name, None)
        owner.tell("Created", f"Created container: {known.name}")
        owner.tell("Started", f"Started container {known.name}")
        owner.save()
        if early is not None and early.pid == known.pid:
            self.exited(early)
            return
        await self._after_start(spec, known, plan)

    def _note_attempt(self, known: records.ContainerRecord) -> None:
        known.attempts += 1
        if known.ended is not None:
            known.last, known.ended = known.ended, None
            known.restarts += 1
            lifecycle.count_backoff(known, self._owner.doors.clock.now())
            self._owner.save_now()

    def _not_started(self, known: records.ContainerRecord, error: runtime.StartFailed) -> None:
        owner, now = self._owner, self._owner.doors.clock.now()
        owner.tell(error.event, f"Error: {error.message}" if error.event == "Failed" else error.message, warning=True)
        if error.reason == "StartError":
            self._note_attempt(known)
            identity = status.container_id(owner.uid, known.name, known.attempts, now)
            known.id = identity
            ended = records.Ended(_START_ERROR, "StartError", now, now, identity, error.message)
            self._note_end(known, ended)
            return
        known.waiting_reason, known.waiting_message = error.reason, error.message
        known.retry_at = now + self._wait_seconds(known.name, error)
        if error.reason == "ErrImagePull":
            self._back_off_pull(known, now)
        owner.save()

    def _wait_seconds(self, name: str, error: runtime.StartFailed) -> float:
        """What is missing often comes with the next object of the same `kubectl apply`: it is looked for soon."""
        if error.reason not in ("CreateContainerConfigError", "ContainerCreating"):
            return _RETRY_SECONDS
        self._waits[name] = min(self._waits.get(name, _FIRST_RETRY_SECONDS / 2) * 2, _RETRY_SECONDS)
        return self._waits[name]

    def _back_off_pull(self, known: records.ContainerRecord, now: float) -> None:
        """10 s, doubled to 300; from the second failure on the word is the kubelet's ImagePullBackOff."""
        if known.pull_backoff_seconds:
            known.waiting_reason = "ImagePullBackOff"
            known.waiting_message = f"Back-off pulling image: {known.waiting_message}"
            self._owner.tell("BackOff", known.waiting_message, warning=True)
        doubled = known.pull_backoff_seconds * 2 or lifecycle.FIRST_BACKOFF_SECONDS
        known.pull_backoff_seconds = min(doubled, lifecycle.LONGEST_BACKOFF_SECONDS)
        known.retry_at = now + known.pull_backoff_seconds

    async def _after_start(self, spec: Object, known: records.ContainerRecord, plan: runtime.ContainerPlan) -> None:
        owner = self._owner
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if hook:
            assert owner.sandbox is not None
            try:
                await hooks.run(
                    hook,
                    spec,
                    sandbox=owner.sandbox,
                    where=self._where(plan),
                    timer=owner.doors.clock,
                    timeout_seconds=_LONGEST_HOOK_SECONDS,
                )
            except (hooks.HookFailed, runtime.SandboxLost) as error:
                owner.tell("FailedPostStartHook", f"PostStartHook failed: {error}", warning=True)
                self.kill(known.name, "FailedPostStartHook")
                return
        if known.running:
            await self._watch(spec, known, plan, afresh=True)
            owner.save()

    # --- probes ---

    def _where(self, plan: runtime.ContainerPlan) -> probing.Where:
        record = self._owner.record
        return probing.Where(self._owner.uid, record.ip, record.ports, plan.env, plan.cwd)

    async def _watch(
        self, spec: Object, known: records.ContainerRecord, plan: runtime.ContainerPlan, *, afresh: bool
    ) -> None:
        owner = self._owner
        assert owner.sandbox is not None
        name = known.name

        def on_result(word: probing.Word, ok: bool, message: str) -> None:
            self._probed(spec, known, word, ok=ok, message=message)

        watching = probing.Watching(
            spec, self._where(plan), prober=owner.doors.prober, sandbox=owner.sandbox, on_result=on_result
        )
        self._watching[name] = watching
        if afresh or not known.started:
            known.started = probing.wanted(spec, "startup") is None
            known.ready = known.started and probing.wanted(spec, "readiness") is None
        try:
            if not known.started:
                await watching.start("startup")
            else:
                await self._watch_started(spec, watching)
        except probing.ProbeProblem as error:
            owner.tell("Unhealthy", str(error), warning=True)
        except runtime.SandboxLost:
            return

    async def _watch_started(self, spec: Object, watching: probing.Watching) -> None:
        for word in ("readiness", "liveness"):
            if probing.wanted(spec, word) is not None:
                await watching.start(word)

    def _probed(
        self, spec: Object, known: records.ContainerRecord, word: probing.Word, *, ok: bool, message: str
    ) -> None:
        owner = self._owner
        if not known.running:
            return
        if not ok:
            owner.tell("Unhealthy", f"{word.capitalize()} probe failed: {message}", warning=True)
            if word == "readiness":
                known.ready = False
            elif not owner.deleted:
                why = f"Container {known.name} failed {word} probe, will be restarted"
                self.kill(known.name, why, grace_seconds=probing.grace_seconds(spec, word))
        elif word == "readiness":
            known.ready = True
        elif word == "startup" and not known.started:
            known.started = True
            known.ready = probing.wanted(spec, "readiness") is None
            owner.beside(self._startup_over(spec, known.name), name=f"{known.name}/started")
        owner.save()
        owner.wake()

    async def _startup_over(self, spec: Object, name: str) -> None:
        watching = self._watching.get(name)
        if watching is None:
            return
        try:
            await watching.stop("startup")
            await self._watch_started(spec, watching)
        except probing.ProbeProblem as error:
            self._owner.tell("Unhealthy", str(error), warning=True)
        except runtime.SandboxLost:
            return

    # --- ending ---

    def kill(self, name: str, why: str, *, grace_seconds: float | None = None) -> None:
        """Ends one container of a pod that goes on, beside the pod's task. Without a grace of its own it has the pod's,
        or next to none in a pod that is evicted."""
        known, grace = self._owner.record.container(name), grace_seconds
        if known.killing or not known.running:
            return
        known.killing = why
        if self._owner.record.failure_reason == "Evicted":
            grace = local_storage.GRACE_SECONDS
        elif grace is None:
            grace = float(self._owner.pod["spec"].get("terminationGracePeriodSeconds", 30))
        task = self._owner.beside(self.end(name, why, grace_seconds=grace), name=f"{name}/end")
        self._killing[name] = task
        task.add_done_callback(lambda _: self._kill_over(name))

    def _kill_over(self, name: str) -> None:
        self._killing.pop(name, None)
        self._owner.wake()

    async def end(self, name: str, why: str, *, grace_seconds: float) -> None:
        """preStop, SIGTERM, the grace, SIGKILL; returns when the container has ended."""
        owner, known = self._owner, self._owner.record.container(name)
        if not known.running or owner.sandbox is None:
            return
        owner.tell("Killing", why or f"Stopping container {name}")
        deadline = owner.doors.clock.monotonic() + grace_seconds
        try:
            await self._pre_stop(name, grace_seconds)
            if known.running:
                await owner.sandbox.signal(name, lifecycle.stop_signal(owner.pod, name))
                await self._ended_within(name, deadline - owner.doors.clock.monotonic())
            if known.running:
                await owner.sandbox.signal(name, signal.SIGKILL)
                await self._event_of(name).wait()
        except runtime.SandboxLost as error:
            self.lost(str(error))

    async def _pre_stop(self, name: str, grace_seconds: float) -> None:
        owner, spec = self._owner, lifecycle.find(self._owner.pod, name)
        hook = ((spec or {}).get("lifecycle") or {}).get("preStop")
        plan = self._plans.get(name)
        if not hook or spec is None or plan is None or grace_seconds <= 0 or owner.hurry.is_set():
            return
        assert owner.sandbox is not None
        hooked = hooks.run(
            hook,
            spec,
            sandbox=owner.sandbox,
            where=self._where(plan),
            timer=owner.doors.clock,
            timeout_seconds=grace_seconds,
        )
        try:
            await racing.first(hooked, self._event_of(name).wait(), owner.hurry.wait())
        except hooks.HookFailed as error:
            owner.tell("FailedPreStopHook", f"PreStopHook failed: {error}", warning=True)

    async def _ended_within(self, name: str, seconds: float) -> None:
        """Waits for the end, at most so long, and not at all once somebody is in a hurry."""
        if seconds <= 0:
            return
        owner = self._owner
        await racing.first(self._event_of(name).wait(), owner.hurry.wait(), owner.doors.clock.sleep(seconds))

    async def cancel_starts(self) -> None:
        """No container starts any more."""
        tasks = list(self._starting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tell_backoffs(self) -> None:
        """One BackOff Event per wait."""
        for known in self._owner.record.containers.values():
            if known.waiting_reason == "CrashLoopBackOff" and self._told_backoff.get(known.name) != known.restarts:
                self._told_backoff[known.name] = known.restarts
                message = status.backoff_message(self._owner.pod, known)
                self._owner.tell("BackOff", message[:1].upper() + message[1:], warning=True)

    async def close(self) -> None:
        """Stops probing; the containers go on."""
        watching, self._watching = list(self._watching.values()), {}
        for entry in watching:
            await entry.close()


def _pulled(plan: runtime.ContainerPlan, runs: str) -> str:
    if runs == "container":
        return f'Container image "{plan.image}" is run by a container engine'
    return f'Container image "{plan.image}" runs as the process {" ".join(plan.argv)[:200]!r} in {plan.cwd}'
