"""`hostPort`: ports of the host that lead to one pod, carried by the engine beside the table of the cluster's objects.

Promises: a port that is taken is refused with the name of who has it, and nothing of that pod is opened; a pod's ports
stay through every change of the table; its drain takes its address out here, too. Refuses: two pods with one port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.dataplane import coordinator
from fairlead.node import protocols
from fairlead.routing import table


class HostPorts:
    """The sink of translations and the door of host ports: what the planes get is both together."""

    def __init__(self, planes: coordinator.Coordinator) -> None:
        self._planes = planes
        self._base = table.Structure()
        self._open: dict[str, dict[str, protocols.HostPort]] = {}  # uid -> listener -> port
        self._owners: dict[str, str] = {}  # listener -> pod
        self._shut = False

    async def apply(self, structure: table.Structure) -> Any:
        """The table of the cluster's objects."""
        self._base = structure
        return await self._planes.apply(self._whole())

    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> Any:
        return await self._planes.apply_endpoints(delta)

    async def acked(self, sent: Any) -> Any:
        return await self._planes.acked(sent)

    def _whole(self) -> table.Structure:
        mine = {name: port for ports in self._open.values() for name, port in ports.items()}
        if not mine:
            return self._base
        backends = {
            name: table.Backend(id=name, protocol=port.protocol, algorithm="round-robin") for name, port in mine.items()
        }
        listeners = {
            name: table.Listener(
                id=name,
                protocol=port.protocol,
                sockets=(f"{port.protocol}:{port.address}:{port.port}",),
                backend=name,
            )
            for name, port in mine.items()
        }
        return msgspec.structs.replace(
            self._base,
            listeners={**self._base.listeners, **listeners},
            backends={**self._base.backends, **backends},
        )

    async def open(self, uid: str, pod: str, ports: Sequence[protocols.HostPort]) -> str:
        if self._shut:
            return "the cluster is going down"
        wanted = {f"host-port/{port.protocol}/{port.address}/{port.port}": port for port in ports}
        for name, port in wanted.items():
            owner = self._owners.get(name, pod)
            if owner != pod:
                return f"hostPort {port.port}/{port.protocol} is taken by pod {owner}"
        self._open[uid] = wanted
        self._owners |= dict.fromkeys(wanted, pod)
        sent = await self._planes.apply(self._whole())
        await self._planes.apply_endpoints(
            [
                table.BackendEndpoints(
                    backend=name,
                    endpoints=(table.Endpoint(address=port.to_address, port=port.to_port, name=pod),),
                )
                for name, port in wanted.items()
            ]
        )
        refused = {nack.object.removeprefix("listener/"): nack.message for nack in await self._planes.acked(sent)}
        why = "; ".join(f"hostPort {port.port}: {refused[name]}" for name, port in wanted.items() if name in refused)
        if why:
            await self.close(uid)
        return why

    async def close(self, uid: str) -> None:
        gone = self._open.pop(uid, None)
        for name in gone or ():
            self._owners.pop(name, None)
        if gone and not self._shut:
            await self._planes.apply(self._whole())

    def shut(self) -> None:
        """The doors of the cluster are closed: nothing is opened again."""
        self._shut = True
