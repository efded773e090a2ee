"""The columns of pods: STATUS is kubectl's word for what the containers say (`printPod`)."""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.printing import ages, columns

Object = dict[str, Any]
NONE = "<none>"


def _sidecar(spec: Object, name: str) -> bool:
    return any(c.get("name") == name and c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or ())


def _initializing(spec: Object, status: Object) -> str:
    """The word while init containers run, or ""."""
    statuses = status.get("initContainerStatuses") or ()
    for index, container in enumerate(statuses):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if _sidecar(spec, container.get("name", "")) and container.get("started"):
            continue
        if ended is not None:
            return "Init:" + _ended(ended)
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(spec.get('initContainers') or ())}"
    return ""


def _initialized(status: Object) -> bool:
    return any(one["type"] == "Initialized" and one["status"] == "True" for one in status.get("conditions") or ())


def _ended(state: Object) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def word(obj: Object) -> str:
    """The STATUS column."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    reason = status.get("reason") or status.get("phase", "")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    initializing = _initializing(spec, status)
    reason = initializing or reason
    if not initializing or _initialized(status):  # a sidecar may end badly, or start again, once all is initialized
        reason = _running(status, reason)
    if "deletionTimestamp" in obj["metadata"]:
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return str(reason)


def _running(status: Object, reason: str) -> str:
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        state = container.get("state") or {}
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting is not None and waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = _ended(ended)
        elif container.get("ready") and state.get("running") is not None:
            running = True
    if reason == "Completed" and running:
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
        return "Running" if ready else "NotReady"
    return reason


def _restarts(status: Object, now: float) -> str:
    found = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    total = sum(container.get("restartCount", 0) for container in found)
    stamps = [
        ended["finishedAt"]
        for container in found
        if (ended := (container.get("lastState") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    return f"{total} ({ages.since(max(stamps), now)} ago)" if total and stamps else str(total)


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    total = len(spec.get("containers") or ()) + len(sidecars)
    names = {c["name"] for c in sidecars}
    ready = sum(bool(c.get("ready")) for c in status.get("containerStatuses") or ())
    ready += sum(bool(c.get("ready")) for c in status.get("initContainerStatuses") or () if c.get("name") in names)
    gates = spec.get("readinessGates") or ()
    true = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    gate = f"{sum(one['conditionType'] in true for one in gates)}/{len(gates)}" if gates else NONE
    return [
        obj["metadata"]["name"],
        f"{ready}/{total}",
        word(obj),
        _restarts(status, now),
        ages.age(obj, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        gate,
    ]


PRINTER = columns.printer("Name Ready Status Restarts Age IP* Node* Nominated_Node* Readiness_Gates*", _cells)
