"""The Node as others see it: capacity, conditions, addresses, and a Lease that is renewed every ten seconds.

A shortage (`pressure`) is looked for as often and told at once, in a condition and an Event.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from fairlead.api import kinds
from fairlead.base import clock, log
from fairlead.client import errors, events
from fairlead.node import pressure, settings

_log = log.get(__name__)
Object = dict[str, Any]

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
STATUS_SECONDS = 300.0
_PODS = 500
KUBELET_VERSION = "v1.36.0+fairlead"


def memory_bytes() -> int:
    """The machine's memory."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


class NodeObject:
    """Registers the Node and keeps it fresh."""

    def __init__(self, node: settings.NodeSettings, doors: settings.Doors) -> None:
        self._node = node
        self._doors = doors
        self._since = doors.clock.now()
        self._gauge = pressure.Gauge(node.folder)
        self._pressure = pressure.Pressure()

    async def register(self) -> None:
        """Makes the Node, or brings its labels and status up to date. Raises ApiError."""
        client, name = self._doors.client, self._node.name
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "node.kubernetes.io/instance-type": "fairlead",
            **self._node.labels,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {},
        }
        try:
            await client.create(kinds.NODE, body)
        except errors.ApiError as error:
            if not error.already_exists:
                raise
            await client.patch(kinds.NODE, name, {"metadata": {"labels": labels}})
        await self._look()
        await self._write_status()

    async def _look(self) -> bool:
        """Whether a shortage has begun or ended."""
        turns = self._pressure.observe(await asyncio.to_thread(self._gauge.read), self._doors.clock.now())
        about = events.node(self._node.name)
        for turn in turns:
            self._doors.recorder.event(about, "Warning" if turn.warning else "Normal", turn.reason, turn.message)
        return bool(turns)

    async def _write_status(self) -> None:
        patch = {"status": self.status(self._doors.clock.now())}
        await self._doors.client.patch(kinds.NODE, self._node.name, patch, subresource="status")

    def status(self, now: float) -> Object:
        """The whole status."""
        stamp = clock.rfc3339(now)
        capacity = {
            "cpu": str(os.cpu_count() or 1),
            "memory": f"{memory_bytes() // 1024}Ki",
            "ephemeral-storage": f"{_disk_bytes(self._node.folder) // 1024}Ki",
            "pods": str(_PODS),
        }
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [
                _condition(*entry, stamp) for entry in (*self._pressure.conditions(), (*_READY, self._since))
            ],
            "addresses": [
                *(
                    {"type": "InternalIP", "address": one}
                    for one in settings.host_addresses(self._node, self._doors.network)
                    if one
                ),
                {"type": "Hostname", "address": self._node.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": _info(),
        }

    async def run(self) -> None:
        """Renews the Lease and looks for shortages until cancelled."""
        timer = self._doors.clock
        written = timer.monotonic()
        while True:
            try:
                await self._renew()
                if await self._look() or timer.monotonic() - written >= STATUS_SECONDS:
                    await self._write_status()
                    written = timer.monotonic()
            except (errors.ApiError, OSError) as error:
                _log.warning("the node's lease was not renewed", why=str(error))
            await timer.sleep(RENEW_SECONDS)

    async def _renew(self) -> None:
        client, name = self._doors.client, self._node.name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": clock.rfc3339_micro(self._doors.clock.now()),
        }
        try:
            await client.patch(kinds.LEASE, name, {"spec": spec}, namespace=LEASE_NAMESPACE)
        except errors.ApiError as error:
            if not error.not_found:
                raise
            await self._make_lease(spec)

    async def _make_lease(self, spec: Object) -> None:
        client, name = self._doors.client, self._node.name
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
            "spec": spec,
        }
        await client.create(kinds.LEASE, lease, namespace=LEASE_NAMESPACE)


_READY = ("Ready", "True", "KubeletReady", "the node agent runs pods")


def _condition(name: str, word: str, reason: str, message: str, since: float, stamp: str) -> Object:
    return {
        "type": name,
        "status": word,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": stamp,
        "lastTransitionTime": clock.rfc3339(since),
    }


def _disk_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).total
    except OSError:
        return 0


def _info() -> Object:
    return {
        "architecture": platform.machine(),
        "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "containerRuntimeVersion": "process://fairlead",
        "kernelVersion": platform.release(),
        "kubeProxyVersion": KUBELET_VERSION,
        "kubeletVersion": KUBELET_VERSION,
        "machineID": _machine_id(),
        "operatingSystem": "linux",
        "osImage": _os_image(),
        "systemUUID": _machine_id(),
    }


def _machine_id() -> str:
    path = Path("/etc/machine-id")
    return path.read_text().strip() if path.exists() else ""


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
