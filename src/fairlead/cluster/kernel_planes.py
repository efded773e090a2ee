"""The kernel's planes of a local cluster: nftables, and beside it balancing at connect time where that works.

Promises: with `--connect-time auto` a start never waits for it nor fails by it, traffic flows by nftables until it is
there; with `on` the start ends with the reason where it cannot be had; `fairlead status` says which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.cluster import config, errors, repairs, state
from fairlead.dataplane import nftables
from fairlead.dataplane import plane as planes
from fairlead.dataplane.connect_time import plane as connect_time
from fairlead.dataplane.connect_time import tables
from fairlead.node import protocols
from fairlead.node.network import kernel

log = logs.get(__name__)
ON = "on: pods and this machine's own processes are led straight from a clusterIP to an endpoint (eBPF)"


class KernelPlanes:
    """One cluster's. `start`, then `begin` once traffic flows, then `close`."""

    def __init__(
        self,
        folder: state.StateFolder,
        wanted: config.ClusterConfig,
        *,
        clock: clocks.Clock,
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self._folder, self._wanted = folder, wanted
        self._record = state.Record()
        self.repairs = repairs.Repairs(clock)
        self._clock, self._on_failure = clock, on_failure
        self._nursery = tasks.Nursery("connect time", on_failure=on_failure)
        self._nftables: nftables.NftablesPlane | None = None
        self._plane: connect_time.ConnectPlane | None = None
        self._why = ""

    async def start(self, network: protocols.Network, record: state.Record) -> list[planes.Plane]:
        """The planes that this network has. Raises PlaneUnavailable."""
        self._record = record
        record.connect_time, record.obstacles = "not yet: its programs are being loaded", []
        if network.mode == "loopback":
            self._why = "Services have no network of their own in loopback mode"
            return []
        self._nftables = nftables.NftablesPlane(
            f"fairlead-{self._wanted.name}",
            clock=self._clock,
            on_failure=self._on_failure,
            pods=_given(network.cidr, network.second_cidr),
            services=_given(record.service_cidr, record.second_service_cidr),
            gateways=_given(network.gateway, network.second_gateway),
            on_obstacles=self._blocked,
            on_repair=self.repairs.note,
            accepted=network.accepted if isinstance(network, kernel.KernelNetwork) else nftables.unknown,
        )
        await self._nftables.start()
        if self._wanted.connect_time == "off":
            self._why = "asked for with --connect-time"
        elif not isinstance(network, kernel.KernelNetwork) or network.mode == "rootless":
            self._why = "the kernel takes no programs from a user's own namespaces"
        else:
            self._plane = connect_time.ConnectPlane(self._nftables, on_failure=self._on_failure, on_lost=self._lost)
            network.on_namespace = self._plane.admit
            return [self._nftables, self._plane]
        return [self._nftables]

    async def begin(self) -> None:
        """Attaches the programs: beside everything else, or, where they are asked for, before it returns. Raises
        CannotStart."""
        if self._plane is None or self._wanted.connect_time == "on":
            await self._attach()
            if self._why and self._wanted.connect_time == "on":
                raise errors.CannotStart(f"--connect-time on: {self._why}")
        else:
            self._nursery.start(self._attach(), name="attach")

    async def close(self) -> None:
        """Detaches the programs and deletes the table."""
        await self._nursery.close()
        if self._plane is not None:
            await self._plane.close()
        if self._nftables is not None:
            await self._nftables.close(purge=True)

    async def _attach(self) -> None:
        if self._plane is not None:
            try:
                await self._plane.attach()
            except (tables.CannotLoad, OSError) as error:
                self._why = str(error)
        self._tell()

    def _lost(self, why: str) -> None:
        self._why = why
        self._tell()

    def _blocked(self, obstacles: Sequence[str]) -> None:
        """Another tool's firewall stops pods' packets (or does so no more)."""
        self._record.obstacles = list(obstacles)
        self._folder.write(self._record)
        log.warning("firewalls of others", obstacles=" ".join(obstacles) or "none in the way any more")

    def _tell(self) -> None:
        self._record.connect_time = f"off: {self._why}" if self._why else ON
        self._folder.write(self._record)
        log.info("balancing at connect time", state=self._record.connect_time)


def _given(*both: str) -> tuple[str, ...]:
    """One for each address family that there is."""
    return tuple(one for one in both if one)
