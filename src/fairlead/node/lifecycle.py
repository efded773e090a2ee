"""What to do with a pod now, as one pure function over its spec and its records: the kubelet's computePodActions.

Follows the pod lifecycle of the Kubernetes documentation and KEP-753 (sidecars): init containers one after another,
sidecars (init containers with restartPolicy Always) from their turn to the end, then all containers. Back-off is the
kubelet's: the first restart at once, then 10 s after the end, doubled to 300 s, forgotten after 600 s.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

from fairlead.node import records

Object = dict[str, Any]

FIRST_BACKOFF_SECONDS = 10.0
LONGEST_BACKOFF_SECONDS = 300.0
FORGET_BACKOFF_SECONDS = 600.0


@dataclass(slots=True)
class Decision:
    """What to start and end now, and when to look again though nothing happened."""

    start: list[str] = field(default_factory=list)
    kill: dict[str, str] = field(default_factory=dict)
    wake_at: float | None = None
    finished: bool = False

    def wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def is_sidecar(container: Object) -> bool:
    """An init container that stays (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def init_containers(pod: Object) -> list[Object]:
    return list(pod["spec"].get("initContainers") or [])


def app_containers(pod: Object) -> list[Object]:
    return list(pod["spec"].get("containers") or [])


def all_containers(pod: Object) -> list[Object]:
    return init_containers(pod) + app_containers(pod)


def sidecars(pod: Object) -> list[Object]:
    return [container for container in init_containers(pod) if is_sidecar(container)]


def find(pod: Object, name: str) -> Object | None:
    """The container of that name, init containers included."""
    return next((container for container in all_containers(pod) if container["name"] == name), None)


def stop_signal(pod: Object, name: str) -> int:
    """What asks that container to end."""
    word = ((find(pod, name) or {}).get("lifecycle") or {}).get("stopSignal") or "SIGTERM"
    return int(getattr(signal, word, signal.SIGTERM))


def decide(pod: Object, record: records.PodRecord, now: float) -> Decision:
    """What must happen to the containers of a pod that nobody is deleting."""
    decision = Decision()
    if record.failure_reason:
        return _end_all(pod, record, decision)
    deadline = pod["spec"].get("activeDeadlineSeconds")
    if deadline is not None and record.started_at:
        if now >= record.started_at + deadline:
            record.failure_reason = "DeadlineExceeded"
            record.failure_message = "Pod was active on the node longer than the specified deadline"
            return _end_all(pod, record, decision)
        decision.wake(record.started_at + deadline)
    _replace_changed(pod, record, decision)
    if not _initialize(pod, record, decision, now):
        return decision
    record.initialized = True
    _run_apps(pod, record, decision, now)
    return decision


def _replace_changed(pod: Object, record: records.PodRecord, decision: Decision) -> None:
    """The image is what may change of a pod's container while it runs."""
    for container in app_containers(pod) + sidecars(pod):
        known = record.container(container["name"])
        if known.running and known.image and known.image != container.get("image", ""):
            decision.kill[known.name] = f"Container {known.name} definition changed, will be restarted"


def _end_all(pod: Object, record: records.PodRecord, decision: Decision) -> Decision:
    for container in all_containers(pod):
        if record.container(container["name"]).running:
            decision.kill[container["name"]] = record.failure_message
    decision.finished = not decision.kill
    return decision


def _initialize(pod: Object, record: records.PodRecord, decision: Decision, now: float) -> bool:
    """Brings the init containers forward; True when the app containers may run."""
    policy = pod["spec"].get("restartPolicy", "Always")
    for container in init_containers(pod):
        known = record.container(container["name"])
        if is_sidecar(container):
            if apps_over(pod, record) and record.initialized:
                continue
            _restart_if_due(known, decision, now)
            if not record.initialized and not (known.running and known.started):
                return False
            continue
        if record.initialized or (known.ended and known.ended.exit_code == 0):
            continue
        if known.ended and not may_run_again(container, known, policy):
            record.failure_reason = "Init:Error"
            _end_all(pod, record, decision)
            return False
        _restart_if_due(known, decision, now)
        return False
    return True


def _run_apps(pod: Object, record: records.PodRecord, decision: Decision, now: float) -> None:
    policy = pod["spec"].get("restartPolicy", "Always")
    for container in app_containers(pod):
        known = record.container(container["name"])
        if may_run_again(container, known, policy):
            _restart_if_due(known, decision, now)
    if not apps_over(pod, record):
        return
    for container in reversed(sidecars(pod)):
        if record.container(container["name"]).running:
            decision.kill[container["name"]] = "the pod's containers have finished"
            return
    decision.finished = True


def may_run_again(container: Object, known: records.ContainerRecord, policy: str) -> bool:
    """Whether the container may run (again): by its own rules and restartPolicy (KEP-5307), else by the pod's."""
    if known.ended is None:
        return True
    code = known.ended.exit_code
    own = container.get("restartPolicy")
    if own and any(_applies(rule, code) for rule in container.get("restartPolicyRules") or ()):
        return True
    policy = own or policy
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _applies(rule: Object, code: int) -> bool:
    """Whether that rule restarts a container that ended with that code."""
    codes = rule.get("exitCodes") or {}
    listed = code in (codes.get("values") or ())
    return rule.get("action") == "Restart" and listed == (codes.get("operator") == "In")


def apps_over(pod: Object, record: records.PodRecord) -> bool:
    """Whether every app container has ended for good."""
    policy = pod["spec"].get("restartPolicy", "Always")
    return all(
        not may_run_again(container, record.container(container["name"]), policy) for container in app_containers(pod)
    )


def _restart_if_due(known: records.ContainerRecord, decision: Decision, now: float) -> None:
    if known.running or known.starting:
        return
    due = max(known.retry_at, _backoff_over_at(known, now))
    if due <= now or due > now + LONGEST_BACKOFF_SECONDS:  # nobody waits for longer: the clock was set back
        decision.start.append(known.name)
        return
    if known.ended and known.retry_at <= now:
        known.waiting_reason = "CrashLoopBackOff"
    decision.wake(due)


def _backoff_over_at(known: records.ContainerRecord, now: float) -> float:
    if known.ended is None or not known.backoff_seconds:
        return 0.0
    if now - known.backoff_at > FORGET_BACKOFF_SECONDS:
        known.backoff_seconds = 0.0
        return 0.0
    return known.ended.finished_at + known.backoff_seconds


def count_backoff(known: records.ContainerRecord, now: float) -> None:
    """A restart happens now: the next one waits longer."""
    forgotten = now - known.backoff_at > FORGET_BACKOFF_SECONDS
    if forgotten or not known.backoff_seconds:
        known.backoff_seconds = FIRST_BACKOFF_SECONDS
    else:
        known.backoff_seconds = min(known.backoff_seconds * 2, LONGEST_BACKOFF_SECONDS)
    known.backoff_at = now
