"""`hostPort`: ports of the host that lead to one pod, carried by the engine beside the table of the cluster's objects.

Promises: a port that is taken is refused with the name of who has it, and nothing of that pod is opened; a pod's ports
stay through every change of the table, and through our death (they are in a file, and in the next life's first table);
its drain takes its address out here, too; a port is there on each address family of the machine, and leads to the pod's
first address whichever was asked (the engine carries it, so they need not be alike). Refuses: two pods with one port.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairlead.dataplane import coordinator
from fairlead.node import protocols
from fairlead.routing import settings, table


class _Kept(msgspec.Struct):
    """What the file says of one pod."""

    pod: str
    ports: dict[str, protocols.HostPort]


class HostPorts:
    """The sink of translations and the door of host ports: what the planes get is both together."""

    def __init__(
        self,
        planes: coordinator.Coordinator,
        file: Path,
        *,
        everywhere: Sequence[str] = ("0.0.0.0",),  # noqa: S104
    ) -> None:
        """`file` remembers what is open for a next life; `everywhere` is bound where a pod names no address."""
        self._planes = planes
        self._file = file
        self._everywhere = tuple(everywhere)
        self._base = table.Structure()
        self._open: dict[str, dict[str, protocols.HostPort]] = {}  # uid -> listener -> port
        self._owners: dict[str, str] = {}  # listener -> pod
        self._shut = False
        self._adopt = False
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._remember(msgspec.json.decode(file.read_bytes(), type=dict[str, _Kept]))

    def _remember(self, kept: dict[str, _Kept]) -> None:
        for uid, one in kept.items():
            self._open[uid] = one.ports
            self._owners |= dict.fromkeys(one.ports, one.pod)
        self._adopt = bool(kept)

    def _keep(self) -> None:
        """Writes the file. A full disk must not keep a pod from its port: then the next life opens it anew."""
        if not self._open:
            self._file.unlink(missing_ok=True)
            return
        kept = {uid: _Kept(self._owners[next(iter(ports))], ports) for uid, ports in self._open.items() if ports}
        fresh = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_bytes(msgspec.json.encode(kept))
            fresh.replace(self._file)

    async def forget_others(self, uids: Container[str]) -> None:
        """Closes what was open for pods that are none of these (they went while we were dead)."""
        for uid in [uid for uid in self._open if uid not in uids]:
            await self.close(uid)

    async def apply(self, structure: table.Structure) -> Any:
        """The table of the cluster's objects."""
        self._base = structure
        sent = await self._planes.apply(self._whole())
        if self._adopt:
            self._adopt = False
            for ports in self._open.values():
                await self._lead(ports.items())
        return sent

    async def _lead(self, ports: Iterable[tuple[str, protocols.HostPort]]) -> None:
        """Says where each port leads."""
        await self._planes.apply_endpoints(
            [
                table.BackendEndpoints(
                    backend=name,
                    endpoints=(table.Endpoint(address=port.to_address, port=port.to_port, name=self._owners[name]),),
                )
                for name, port in ports
            ]
        )

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
                sockets=self._sockets(port),
                backend=name,
            )
            for name, port in mine.items()
        }
        return msgspec.structs.replace(
            self._base,
            listeners={**self._base.listeners, **listeners},
            backends={**self._base.backends, **backends},
        )

    def _sockets(self, port: protocols.HostPort) -> tuple[str, ...]:
        places = (port.address,) if port.address else self._everywhere
        return tuple(settings.socket_id(port.protocol, one, port.port) for one in places)

    async def open(self, uid: str, pod: str, ports: Sequence[protocols.HostPort]) -> str:
        if self._shut:
            return "the cluster is going down"
        wanted = {f"host-port/{port.protocol}/{port.address or '*'}/{port.port}": port for port in ports}
        for name, port in wanted.items():
            owner = self._owners.get(name, pod)
            if owner != pod:
                return f"hostPort {port.port}/{port.protocol} is taken by pod {owner}"
        self._open[uid] = wanted
        self._owners |= dict.fromkeys(wanted, pod)
        self._keep()
        sent = await self._planes.apply(self._whole())
        await self._lead(wanted.items())
        refused = {nack.object.removeprefix("listener/"): nack.message for nack in await self._planes.acked(sent)}
        why = "; ".join(f"hostPort {port.port}: {refused[name]}" for name, port in wanted.items() if name in refused)
        if why:
            await self.close(uid)
        return why

    async def close(self, uid: str) -> None:
        gone = self._open.pop(uid, None)
        for name in gone or ():
            self._owners.pop(name, None)
        if gone is not None:
            self._keep()
        if gone and not self._shut:
            await self._planes.apply(self._whole())

    def shut(self) -> None:
        """The doors of the cluster are closed: nothing is opened again."""
        self._shut = True
