"""A pod's `status` in the kubelet's words, rendered from its records: phase, conditions, container statuses.

Pure: the same records give the same status, and times come from the records; nothing in it is null, so that what the
API answers is equal to what was written. Conditions that others wrote (readiness gates) are kept. Phase follows the
kubelet's getPhase, reasons its status generation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from fairlead.base import clock
from fairlead.node import lifecycle, records

Object = dict[str, Any]

_OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a status says about the node."""

    host_ip: str
    runtime: str  # the scheme of containerID: process, podman, docker
    second_host_ip: str = ""


def render(pod: Object, record: records.PodRecord, now: float, around: Surroundings) -> Object:
    """The whole status that the pod should have now."""
    policy = pod["spec"].get("restartPolicy", "Always")
    apps = [_container(pod, record, entry, around) for entry in lifecycle.app_containers(pod)]
    inits = [_container(pod, record, entry, around) for entry in lifecycle.init_containers(pod)]
    phase = phase_of(pod, record, policy)
    status: Object = {
        "phase": phase,
        "hostIP": around.host_ip,
        "hostIPs": [{"ip": one} for one in (around.host_ip, around.second_host_ip) if one],
        "conditions": _conditions(pod, record, phase, now),
        "containerStatuses": apps,
        "qosClass": qos_class(pod),
    }
    if record.started_at:
        status["startTime"] = clock.rfc3339(record.started_at)
    if record.ip:
        status["podIP"] = record.ip
        status["podIPs"] = [{"ip": one} for one in record.addresses]
    if inits:
        status["initContainerStatuses"] = inits
    if record.failure_reason and record.failure_reason != "Init:Error":
        status["reason"], status["message"] = record.failure_reason, record.failure_message
    generation = pod["metadata"].get("generation")
    if generation:
        status["observedGeneration"] = generation
    return status


def phase_of(pod: Object, record: records.PodRecord, policy: str) -> str:
    """Kubernetes' five phases, less Unknown."""
    known = [record.container(entry["name"]) for entry in lifecycle.app_containers(pod)]
    inits = [record.container(entry["name"]) for entry in lifecycle.init_containers(pod)]
    if record.failure_reason:
        return "Running" if any(entry.running for entry in known + inits) else "Failed"
    if not record.initialized:
        return "Pending"
    if lifecycle.apps_over(pod, record):
        if any(record.container(entry["name"]).running for entry in lifecycle.sidecars(pod)):
            return "Running"
        return "Failed" if any(entry.ended and entry.ended.exit_code for entry in known) else "Succeeded"
    never_ran = [entry for entry in known if not entry.running and entry.ended is None]
    return "Pending" if never_ran else "Running"


def _container(pod: Object, record: records.PodRecord, spec: Object, around: Surroundings) -> Object:
    known = record.container(spec["name"])
    rendered: Object = {
        "name": spec["name"],
        "image": spec.get("image", ""),
        "imageID": known.image_id,
        "ready": is_ready(pod, spec, known),
        "restartCount": known.restarts,
        "started": known.running and known.started,
        "state": _state(pod, spec, known, record, around),
        "lastState": {"terminated": _terminated(known.last, around)} if known.last else {},
    }
    if known.id:
        rendered["containerID"] = f"{around.runtime}://{known.id}"
    return rendered


def is_ready(pod: Object, spec: Object, known: records.ContainerRecord) -> bool:
    """Ready as the kubelet counts it; a finished init container is ready."""
    is_init = any(entry["name"] == spec["name"] for entry in lifecycle.init_containers(pod))
    if is_init and not lifecycle.is_sidecar(spec):
        return known.ended is not None and known.ended.exit_code == 0
    return known.running and known.started and known.ready


def _state(
    pod: Object, spec: Object, known: records.ContainerRecord, record: records.PodRecord, around: Surroundings
) -> Object:
    if known.running:
        return {"running": {"startedAt": clock.rfc3339(known.started_at)}}
    if known.waiting_reason == "CrashLoopBackOff" and known.ended:
        return {"waiting": {"reason": "CrashLoopBackOff", "message": backoff_message(pod, known)}}
    if known.waiting_reason:
        waiting: Object = {"reason": known.waiting_reason}
        if known.waiting_message:
            waiting["message"] = known.waiting_message
        return {"waiting": waiting}
    if known.ended:
        return {"terminated": _terminated(known.ended, around)}
    waits_for_init = not record.initialized and lifecycle.init_containers(pod)
    return {"waiting": {"reason": "PodInitializing" if waits_for_init else "ContainerCreating"}}


def backoff_message(pod: Object, known: records.ContainerRecord) -> str:
    """The kubelet's sentence, and where to look."""
    meta = pod["metadata"]
    ended = known.ended
    why = f"; it ended with exit code {ended.exit_code} ({ended.reason})" if ended else ""
    if ended and ended.reason == "StartError" and ended.message:  # it never ran: no log tells why
        return _backoff(pod, known) + why + f": {ended.message}"
    look = f"see kubectl logs -n {meta['namespace']} {meta['name']} -c {known.name} --previous"
    return f"{_backoff(pod, known)}{why}: {look}"


def _backoff(pod: Object, known: records.ContainerRecord) -> str:
    meta = pod["metadata"]
    return (
        f"back-off {_go_duration(known.backoff_seconds)} restarting failed container={known.name} "
        f"pod={meta['name']}_{meta['namespace']}({meta['uid']})"
    )


def _go_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _terminated(ended: records.Ended | None, around: Surroundings) -> Object:
    assert ended is not None
    rendered: Object = {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "finishedAt": clock.rfc3339(ended.finished_at),
    }
    if ended.started_at:
        rendered["startedAt"] = clock.rfc3339(ended.started_at)
    if ended.id:
        rendered["containerID"] = f"{around.runtime}://{ended.id}"
    if ended.message:
        rendered["message"] = ended.message
    return rendered


def _conditions(pod: Object, record: records.PodRecord, phase: str, now: float) -> list[Object]:
    present = {entry["type"]: entry for entry in (pod.get("status") or {}).get("conditions") or []}
    wanted = [
        ("PodReadyToStartContainers", record.network_ready, "", ""),
        ("Initialized", *_initialized(pod, record, phase)),
        ("Ready", *_pod_ready(pod, record, phase, present)),
        ("ContainersReady", *_containers_ready(pod, record, phase)),
        ("PodScheduled", True, "", ""),
    ]
    conditions = [_condition(present.get(entry[0]), entry, now) for entry in wanted]
    return conditions + [entry for name, entry in present.items() if name not in _OURS]


def _condition(present: Object | None, wanted: tuple[str, bool, str, str], now: float) -> Object:
    name, is_true, reason, message = wanted
    word = "True" if is_true else "False"
    same = present is not None and present.get("status") == word
    since = present.get("lastTransitionTime") if same and present else None
    entry: Object = {
        "type": name,
        "status": word,
        "lastTransitionTime": since or clock.rfc3339(now),
    }
    if reason:
        entry["reason"] = reason
    if message:
        entry["message"] = message
    return entry


def _initialized(pod: Object, record: records.PodRecord, phase: str) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    if record.initialized or not lifecycle.init_containers(pod):
        return True, "", ""
    names = [
        entry["name"]
        for entry in lifecycle.init_containers(pod)
        if not is_ready(pod, entry, record.container(entry["name"]))
    ]
    return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(names)}]"


def _containers_ready(pod: Object, record: records.PodRecord, phase: str) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    entries = lifecycle.sidecars(pod) + lifecycle.app_containers(pod)
    names = [entry["name"] for entry in entries if not is_ready(pod, entry, record.container(entry["name"]))]
    if names:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(names)}]"
    return True, "", ""


def is_pod_ready(pod: Object, record: records.PodRecord) -> bool:
    """The condition Ready, as `render` would have it now."""
    phase = phase_of(pod, record, pod["spec"].get("restartPolicy", "Always"))
    present = {entry["type"]: entry for entry in (pod.get("status") or {}).get("conditions") or []}
    return _pod_ready(pod, record, phase, present)[0]


def _pod_ready(pod: Object, record: records.PodRecord, phase: str, present: dict[str, Object]) -> tuple[bool, str, str]:
    answer = _containers_ready(pod, record, phase)
    if not answer[0]:
        return answer
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    missing = [gate for gate in gates if present.get(gate, {}).get("status") != "True"]
    if missing:
        return False, "ReadinessGatesNotReady", f'the status of pod readiness gate "{missing[0]}" is not "True"'
    return True, "", ""


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort by the requests and limits of all containers."""
    found: list[tuple[Object, Object]] = []
    for entry in lifecycle.all_containers(pod):
        resources = entry.get("resources") or {}
        found.append((resources.get("requests") or {}, resources.get("limits") or {}))
    if not any(requests or limits for requests, limits in found):
        return "BestEffort"
    guaranteed = all(
        set(limits) >= {"cpu", "memory"} and all(requests.get(key, limits[key]) == limits[key] for key in limits)
        for requests, limits in found
    )
    return "Guaranteed" if guaranteed else "Burstable"


def container_id(*parts: object) -> str:
    """An id like a container engine's, of what makes a start unique."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()
