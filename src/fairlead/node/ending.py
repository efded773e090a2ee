"""How a pod ends (DESIGN §6.1): out of every plane and drained first, then preStop, SIGTERM, grace, SIGKILL, gone.

The drain has its own deadline (`fairlead.dev/drain-seconds`, 30 s) before the grace begins. A forced deletion skips it
and leaves one second, the kubelet's least. Sidecars end after the app containers, the last one first. At last
the object is deleted, with its uid, so that never another pod of that name is.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fairlead.api import kinds
from fairlead.base import log
from fairlead.client import errors
from fairlead.node import folders, lifecycle, protocols, racing, runtime, settings

if TYPE_CHECKING:
    from fairlead.node import worker

_log = log.get(__name__)
Object = dict[str, Any]

DRAIN_ANNOTATION = "fairlead.dev/drain-seconds"
_LEAST_GRACE_SECONDS = 1.0
_LEAST_DRAIN_SECONDS = 5.0  # for who came from inside, however long those from outside took
_DELETE_RETRY_SECONDS = (0.2, 1.0, 5.0)


async def end_pod(owner: worker.PodWorker) -> None:
    """Takes the pod from running to gone."""
    await owner.containers.cancel_starts()
    running = [name for name, known in owner.record.containers.items() if known.running]
    if running and not _forced(owner):
        await _drain(owner)
    await _end_containers(owner)
    await _take_down(owner)
    if owner.shutting_down and not owner.pod["metadata"].get("deletionTimestamp"):
        return
    owner.publisher.changed()
    await owner.publisher.flushed()
    await _delete(owner)


def _forced(owner: worker.PodWorker) -> bool:
    return owner.gone or owner.hurry.is_set() or owner.pod["metadata"].get("deletionGracePeriodSeconds") == 0


def grace_seconds(owner: worker.PodWorker) -> float:
    """How long a container has between SIGTERM and SIGKILL."""
    if owner.gone:
        return _LEAST_GRACE_SECONDS
    asked = owner.pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is None:
        asked = owner.pod["spec"].get("terminationGracePeriodSeconds", 30)
    return max(float(asked), _LEAST_GRACE_SECONDS)


def drain_seconds(owner: worker.PodWorker) -> float:
    """The drain's deadline; an annotation that is no number makes an Event and counts as missing."""
    written = (owner.pod["metadata"].get("annotations") or {}).get(DRAIN_ANNOTATION)
    if written is None:
        return owner.node.drain_seconds
    try:
        seconds = float(written)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        message = f"metadata.annotations[{DRAIN_ANNOTATION}]: {written!r} is not a number of seconds from 0 to 86400"
        owner.tell("InvalidAnnotation", message, warning=True)
        return owner.node.drain_seconds
    return seconds


async def _drain(owner: worker.PodWorker) -> None:
    deadline = drain_seconds(owner)
    deadline = max(deadline - owner.waited_seconds, min(deadline, _LEAST_DRAIN_SECONDS))
    if not deadline or not owner.record.ip:
        return
    outcome = await racing.first(_drain_all(owner, deadline), owner.hurry.wait())
    if outcome is not None:
        _tell_drained(owner, outcome)


async def _drain_all(owner: worker.PodWorker, deadline: float) -> protocols.DrainOutcome:
    """Every address of the pod, at the same time."""
    gate = owner.doors.gate
    ends = await asyncio.gather(*(gate.drain(one, deadline_seconds=deadline) for one in owner.record.addresses))
    silent = tuple(dict.fromkeys(name for end in ends for name in end.silent))
    return protocols.DrainOutcome(sum(end.left for end in ends), silent, max(end.seconds for end in ends))


def _tell_drained(owner: worker.PodWorker, outcome: protocols.DrainOutcome) -> None:
    if outcome.silent:
        owner.tell("DrainUnacknowledged", f"not acknowledged by: {', '.join(outcome.silent)}", warning=True)
    if outcome.left:
        message = f"{outcome.left} connections were still open after {outcome.seconds:.1f} s; they are cut with the pod"
        owner.tell("DrainIncomplete", message, warning=True)


async def _end_containers(owner: worker.PodWorker) -> None:
    loop = asyncio.get_running_loop()
    deadline = owner.doors.clock.monotonic() + grace_seconds(owner)

    async def end(names: list[str]) -> None:
        left = max(0.0, deadline - owner.doors.clock.monotonic())
        ending = [
            loop.create_task(owner.containers.end(name, f"Stopping container {name}", grace_seconds=left))
            for name in names
        ]
        await asyncio.gather(*ending)

    late = [container["name"] for container in reversed(lifecycle.sidecars(owner.pod))]
    first = [name for name, known in owner.record.containers.items() if known.running and name not in late]
    await end(first)
    for name in late:
        await end([name])


async def _take_down(owner: worker.PodWorker) -> None:
    sandbox, owner.sandbox = owner.sandbox, None
    if sandbox is not None:
        await sandbox.stop()
    else:
        await owner.runtime.end(owner.uid)
    owner.record.network_ready = False
    if not owner.pod["spec"].get("hostNetwork"):
        try:
            await owner.doors.network.detach(owner.uid)
        except OSError as error:
            _log.warning("a pod's link was not removed", pod=owner.record.name, why=str(error))
    for address in owner.record.addresses:
        owner.doors.gate.release(address)
    if owner.doors.host_ports is not None:
        await owner.doors.host_ports.close(owner.uid)
    owner.planner.tokens.forget(owner.uid)
    await asyncio.to_thread(_remove_files, owner)


def _remove_files(owner: worker.PodWorker) -> None:
    folders.remove(owner.folder)
    if owner.doors.cgroups is not None:
        owner.doors.cgroups.remove(owner.uid)


async def _delete(owner: worker.PodWorker) -> None:
    meta = owner.pod["metadata"]
    for delay in (*_DELETE_RETRY_SECONDS, None):
        if owner.gone:
            return
        try:
            await owner.doors.client.delete(
                kinds.POD, meta["name"], namespace=meta["namespace"], grace_seconds=0, uid=owner.uid
            )
        except errors.ApiError as error:
            if error.not_found or error.code == 409:
                return
            _log.warning("a pod's object was not deleted", pod=meta["name"], why=str(error))
        except OSError as error:
            _log.warning("a pod's object was not deleted", pod=meta["name"], why=str(error))
        else:
            return
        if delay is not None:
            await owner.doors.clock.sleep(delay)


async def end_orphan(found: runtime.Runtime, uid: str, doors: settings.Doors) -> None:
    """Ends what is left of a pod that nobody knows any more: its sandbox, its cgroups, its link."""
    _log.info("ending a pod that is no more", uid=uid)
    await found.end(uid)
    if doors.cgroups is not None:
        await asyncio.to_thread(doors.cgroups.remove, uid)
    with contextlib.suppress(OSError):  # in its own network's last moments
        await doors.network.detach(uid)
