"""A node agent that runs nothing: pods become ready after a while, and go when they are deleted.

`ready_after_seconds` per pod comes from `delay(pod)`; None keeps the pod pending for ever. Addresses are 10.244.0.2
and up.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.base import tasks
from fairlead.client import errors, informer, protocol

Object = dict[str, Any]
NODE = "fake-node"


class FakeKubelet:
    """Plays the node for every pod of one API server."""

    def __init__(
        self,
        client: protocol.Client,
        *,
        clock: clocks.Clock,
        on_failure: informer.Failure,
        delay: Callable[[Object], float | None] = lambda pod: 0.0,
        stop_seconds: float = 0.0,
    ) -> None:
        self.delay = delay
        self.outcome: Callable[[Object], tuple[float, int] | None] = lambda pod: None  # ends after seconds with a code
        self._client = client
        self._clock = clock
        self._stop_seconds = stop_seconds
        self._addresses = iter(f"10.244.{high}.{low}" for high in range(256) for low in range(2, 255))
        self._nursery = tasks.Nursery("fake kubelet", on_failure=on_failure)
        self._seen: set[str] = set()
        self._stopping: set[str] = set()
        self._pods = informer.Informer(client, kinds.POD, clock=clock, rng=random.Random(1), on_failure=on_failure)
        self._pods.add_handler(self._changed)

    def start(self) -> None:
        self._nursery.start(self._pods.run(), name="pods")

    async def close(self) -> None:
        await self._nursery.close()

    def _changed(self, change: informer.Change) -> None:
        pod = change.new
        if pod is None:
            return
        uid = pod["metadata"]["uid"]
        if "deletionTimestamp" in pod["metadata"]:
            if uid not in self._stopping:
                self._stopping.add(uid)
                self._nursery.start(self._stop(pod), name=f"stop {uid}")
        elif uid not in self._seen:
            self._seen.add(uid)
            self._nursery.start(self._run(pod), name=f"run {uid}")

    async def _run(self, pod: Object) -> None:
        with contextlib.suppress(errors.ApiError):  # the pod may be gone at any step
            if not pod["spec"].get("nodeName"):
                await self._patch(pod, {"spec": {"nodeName": _place(pod)}})
            delay = self.delay(pod)
            if delay is None:
                return
            if delay:
                await self._clock.sleep(delay)
            address = next(self._addresses)
            status = {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "startTime": clocks.rfc3339(self._clock.now()),
            }
            await self.set_ready(pod, True, **status)
            if (outcome := self.outcome(pod)) is not None:
                await self._clock.sleep(outcome[0])
                await self.end(pod, outcome[1])

    async def end(self, pod: Object, exit_code: int) -> None:
        """The pod's containers exit with that code, for good."""
        ended = {"exitCode": exit_code, "finishedAt": clocks.rfc3339(self._clock.now())}
        statuses = [{"name": one["name"], "state": {"terminated": ended}} for one in pod["spec"]["containers"]]
        phase = "Succeeded" if exit_code == 0 else "Failed"
        await self.set_ready(pod, False, phase=phase, containerStatuses=statuses)

    async def _stop(self, pod: Object) -> None:
        if self._stop_seconds:
            await self._clock.sleep(self._stop_seconds)
        with contextlib.suppress(errors.ApiError):
            metadata = pod["metadata"]
            await self._client.delete(
                kinds.POD, metadata["name"], namespace=metadata["namespace"], grace_seconds=0, uid=metadata["uid"]
            )

    async def set_ready(self, pod: Object, ready: bool, **status: Any) -> None:
        """Makes the pod ready or not."""
        stamp = clocks.rfc3339(self._clock.now())
        found = [
            {"type": name, "status": str(ready), "lastTransitionTime": stamp} for name in ("Ready", "ContainersReady")
        ]
        await self._patch(pod, {"status": {**status, "conditions": found}}, "status")

    async def _patch(self, pod: Object, patch: Object, subresource: str = "") -> None:
        metadata = pod["metadata"]
        await self._client.patch(
            kinds.POD, metadata["name"], patch, namespace=metadata["namespace"], subresource=subresource
        )


def _place(pod: Object) -> str:
    """The node that the pod is bound to by its affinity, else the only one."""
    required = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = required.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", ())
    named = [field["values"][0] for term in terms for field in term.get("matchFields") or ()]
    return str(named[0]) if named else NODE
