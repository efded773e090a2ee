"""Writes a pod's status to the API: only changes, the newest only, never in the pod's way.

What changes within a tenth of a second is one write, but a pod that becomes ready or not ready is told at once: traffic
waits for that. Nothing is told before it is in the pod's record on disk, so that our next life knows no less. The
`fairlead.dev/ports` annotation is written before the first address, so that nobody sees an address without its ports. A
pod that is gone, or another of the same name, is never written to (the patch carries the uid).
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from fairlead.api import kinds
from fairlead.base import log
from fairlead.client import errors
from fairlead.node import network_ports, racing, records, settings, status

if TYPE_CHECKING:
    from fairlead.node import worker

_log = log.get(__name__)
Object = dict[str, Any]
_RETRY_SECONDS = 0.5
_GATHER_SECONDS = 0.1


class Publisher:
    """The status writer of one pod."""

    def __init__(self, owner: worker.PodWorker) -> None:
        self._owner = owner
        self._dirty = asyncio.Event()
        self._urgent = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._written: Object = {}
        self._saved = b""
        self._annotated = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._written = self._owner.pod.get("status") or {}
        self._task = self._owner.nursery.keep(self._run, name="status", clock=self._owner.doors.clock)

    def changed(self) -> None:
        """The record may say something new."""
        self._quiet.clear()
        self._dirty.set()
        said = self._said_ready()
        if not said and not any(known.ready for known in self._owner.record.containers.values()):
            return  # the usual case, seen with half the effort
        if status.is_pod_ready(self._owner.pod, self._owner.record) != said:
            self._urgent.set()

    def _said_ready(self) -> bool:
        conditions = self._written.get("conditions") or []
        return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)

    async def flushed(self) -> None:
        """Returns when the newest status is written, or given up because the pod is gone."""
        self._urgent.set()
        await self._quiet.wait()

    async def _run(self) -> None:
        owner = self._owner
        while True:
            await self._dirty.wait()
            if not self._urgent.is_set():
                await racing.first(self._urgent.wait(), owner.doors.clock.sleep(_GATHER_SECONDS))
            self._dirty.clear()
            self._urgent.clear()
            try:
                if owner.sandbox is not None:
                    await self._save()
                written = await self._write()
            except BaseException:
                self._dirty.set()  # for the next attempt
                raise
            if not written:
                self._dirty.set()
                await owner.doors.clock.sleep(_RETRY_SECONDS)
            elif not self._dirty.is_set():
                self._quiet.set()

    async def _save(self) -> None:
        """Puts the record on disk; in a thread where that replaces the file, which may wait for the disk: the loop is
        everybody's."""
        encoded = records.encode(self._owner.record)
        if encoded != self._saved:
            self._saved = encoded
            if not records.overwrite(self._owner.folder, encoded):
                await asyncio.to_thread(records.write, self._owner.folder, encoded)

    async def _write(self) -> bool:
        """True when there is nothing left to write."""
        owner = self._owner
        if owner.gone:
            return True
        first, six = settings.host_addresses(owner.node, owner.doors.network)
        around = status.Surroundings(first, owner.runtime.name, six)
        wanted = status.render(owner.pod, owner.record, owner.doors.clock.now(), around)
        if all(self._written.get(key) == value for key, value in wanted.items()):
            return True
        meta = owner.pod["metadata"]
        try:
            await self._annotate()
            patch = {"metadata": {"uid": owner.uid}, "status": wanted}
            answer = await owner.doors.client.patch(
                kinds.POD, meta["name"], patch, namespace=meta["namespace"], subresource="status"
            )
        except errors.ApiError as error:
            if error.not_found or error.conflict or error.code == 422:
                _log.debug("status not written", pod=meta["name"], why=str(error))
                return True
            _log.warning("status not written", pod=meta["name"], why=str(error))
            return False
        except OSError as error:
            _log.warning("status not written", pod=meta["name"], why=str(error))
            return False
        self._written = answer.get("status") or wanted
        return True

    async def _annotate(self) -> None:
        owner = self._owner
        moved = network_ports.moved(owner.record.ports)
        if self._annotated or not owner.record.ip:
            return
        present = (owner.pod["metadata"].get("annotations") or {}).get(network_ports.ANNOTATION)
        wanted = json.dumps(moved, sort_keys=True) if moved else None
        if wanted != present:
            meta = owner.pod["metadata"]
            patch = {"metadata": {"uid": owner.uid, "annotations": {network_ports.ANNOTATION: wanted}}}
            await owner.doors.client.patch(kinds.POD, meta["name"], patch, namespace=meta["namespace"])
        self._annotated = True

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
