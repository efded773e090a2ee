"""A local cluster, wired: API server, controllers, node agent, planes; started in order, closed in reverse.

The order is the promise: the store before what writes to it, the planes' first table before pods may be told to end,
drains before stops, engine and rules last. A start that fails takes down what it had started.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import random
from pathlib import Path

from fairlead.apiserver import server
from fairlead.base import clock as clocks
from fairlead.base import leisure, privilege, tasks
from fairlead.base import log as logs
from fairlead.client import events, exchange, inprocess, protocol
from fairlead.cluster import (
    api_port,
    closing,
    config,
    doors,
    edge_certificate,
    errors,
    families,
    host_ports,
    imagefile,
    kernel_planes,
    local_volumes,
    place,
    poddoor,
    ranges,
    rootless,
    state,
    teardown,
    traffic_stats,
)
from fairlead.controllers import permissions, serving_gate, suite, traffic
from fairlead.controllers.autoscaling import traffic_metrics
from fairlead.dataplane import access_log, coordinator, engine, health_ports, nftables, plane, sockets, spawn, wire
from fairlead.node import agent, cgroups, engines, folders, identity, own_podman, processes, protocols
from fairlead.node import settings as node_settings
from fairlead.node.network import choose
from fairlead.routing import settings as routing_settings
from fairlead.routing import table as routing_table
from fairlead.store import protocol as state_errors
from fairlead.store import sqlite

log = logs.get(__name__)
ENGINE_GRACE_SECONDS = 30.0
ENGINE_START_SECONDS = 10.0
_REASONS = (
    protocols.NetworkUnavailable,
    nftables.PlaneUnavailable,
    spawn.EngineMissing,
    state.StateError,
    state_errors.Refused,
)


class Cluster:
    """One local cluster in this process. `start`, then `client`; `close` ends all that runs."""

    def __init__(
        self, folder: state.StateFolder, wanted: config.ClusterConfig, *, outside: rootless.Outside | None = None
    ) -> None:
        self.folder, self.wanted = folder, wanted
        self._outside = outside
        self._open_socket = outside.open if outside else sockets.open_socket
        self.clock = clocks.SystemClock()
        self._rng = random.Random()  # noqa: S311  jitter, names
        self._metrics = doors.PodMetrics()
        self.gate = serving_gate.Gate()
        self._leisure = leisure.Leisure(self.clock)
        self.traffic_metrics = traffic_metrics.TrafficMetrics()
        self._rooms = closing.Rooms()
        self._outlived = self._leaving = False  # pods of an earlier life run; a failed start leaves them as they are
        self.kernel_planes = kernel_planes.KernelPlanes(folder, wanted, clock=self.clock, on_failure=self._failed)
        self._hurry = asyncio.Event()
        self._seen_out_seconds = 0.0
        self.client: protocol.Client
        self.agent: agent.NodeAgent
        self.engine: engine.EnginePlane
        self.traffic: traffic.Traffic
        self.host_ports: host_ports.HostPorts

    async def start(self) -> None:
        """Starts everything; returns when the planes have their first table. Raises CannotStart."""
        try:
            await self._start()
        except Exception as error:
            self._leaving = self._outlived
            if isinstance(error, _REASONS):
                raise errors.CannotStart(str(error)) from error
            raise

    async def _start(self) -> None:
        self._hold_folder()
        record = self.folder.read()
        network = await self._network(record)
        record.service_cidr, record.second_service_cidr = map(ranges.services_beside, place.cidrs(network))
        await network.lead(record.service_cidr, record.second_service_cidr)
        record.dns = ranges.dns_door(network.gateway if network.mode != "loopback" else "", network.cidr)
        api = await self._api(record, network)
        planes = await self._planes(network, record)
        self.controllers = suite.ControllerSuite(
            inprocess.clients_for_controllers(api.exchange),
            clock=self.clock,
            rng=self._rng,
            on_failure=self._failed,
            metrics_source=self._metrics,
            traffic_source=self.traffic_metrics,
            can_hold=True,
            gate=self.gate,
            leisure=self._leisure,
            volume_folders=local_volumes.LocalVolumes(self.folder.volumes),
            root_ca_pem=(self.folder.pki / "ca.crt").read_text(),
            hpa_period_seconds=self.wanted.hpa_every_seconds,
            hpa_window_seconds=self.wanted.hpa_window_seconds,
        )
        self._rooms.add("controllers", self.controllers.finish)
        api.registry.mounted.update(self.controllers.served())
        statistics = tasks.Nursery("statistics", on_failure=self._failed)
        following = functools.partial(
            traffic_stats.follow,
            str(self.folder.run / "stats.sock"),
            self.traffic_metrics,
            clock=self.clock,
            period_seconds=self.wanted.hpa_every_seconds,
        )
        statistics.keep(following, name="engine", clock=self.clock)
        self._rooms.add("statistics", statistics.close)
        if self.wanted.access_log:
            self._log_accesses()
        await self._traffic(api, planes, network, record)
        await self._node(api, planes, network, record)
        await self._first_table(record)

    def _log_accesses(self) -> None:
        access_log.Destination(self.wanted.access_log).close()  # one that cannot be opened ends the start
        writing = tasks.Nursery("access log", on_failure=self._failed)
        socket = str(self.folder.run / "stats.sock")
        writing.keep(lambda: self._write_accesses(socket), name="write", clock=self.clock)
        self._rooms.add("access log", writing.close)

    async def _write_accesses(self, socket: str) -> None:
        await access_log.follow(socket, access_log.Destination(self.wanted.access_log), clock=self.clock)

    def _failed(self, where: str, error: BaseException) -> None:
        log.error("a task failed; this is a bug", error=error, where=where)

    def _engine_event(self, event: wire.Event) -> None:
        # NAMESPACE/SERVICE:PORT[/http]; what an adopted engine tells before there are controllers its statistics repeat
        if isinstance(event, wire.Demand) and hasattr(self, "controllers"):
            namespace, _, rest = event.backend.partition("/")
            self.controllers.sleeper.demand(namespace, rest.partition(":")[0])

    def _hold_folder(self) -> None:
        self.folder.create()
        lock = state.Lock(self.folder)
        self._outlived = teardown.outlived(self.folder)

        async def release() -> None:
            lock.release()

        self._rooms.add("lock", release)

    async def _network(self, record: state.Record) -> protocols.Network:
        forced = "rootless" if self._outside else "" if self.wanted.network == "auto" else self.wanted.network
        asked = families.decide(self.wanted.ip_family, record)
        choice = await choose.choose(
            self.wanted.name,
            forced=forced,
            wanted_cidr=record.pod_cidr,
            second_wanted_cidr=record.second_pod_cidr,
            families=asked.order,
            all_required=asked.all_required,
        )
        record.ip_family, record.network, record.network_reason = asked.word, choice.network.mode, choice.reason
        if self._outside is not None:
            record.network_reason = self._outside.why
            self._outside.inside |= {choice.network.gateway, choice.network.second_gateway}
        record.pod_cidr, record.second_pod_cidr = choice.network.cidr, choice.network.second_cidr
        record.localhost = list(await asyncio.to_thread(ranges.localhost, self._open_socket))
        places = (self.wanted.http, self.wanted.https)
        record.edge_http, record.edge_https = (list(ranges.reachable(one, record.localhost)) for one in places)
        record.lowest_port, record.ingress_nginx = ranges.lowest_port(), self.wanted.ingress_nginx
        record.started_at = self.clock.now()
        self.folder.write(record)
        self._rooms.add("network", choice.network.close, leave=closing.nothing)
        return choice.network

    async def _api(self, record: state.Record, network: protocols.Network) -> server.ApiServer:
        store = sqlite.SqliteStore(self.folder.store)
        await store.open()
        self._rooms.add("store", store.close)
        wanted = server.ApiServerConfig(
            state_folder=self.folder.path,
            cluster_name=self.wanted.name,
            node_name=place.NODE_NAME,
            port=self.wanted.api_port,
            addresses=tuple(sorted({self.wanted.api_address, *place.gateways(network)} - set(server.LOOPBACK))),
            service_cidr=record.service_cidr,
            second_service_cidr=record.second_service_cidr,
            controller_rules=permissions.RULES,
            opener=self._open_socket,
        )
        api = await api_port.listening(store, wanted, before=record.api_port, clock=self.clock)
        self._rooms.add("API server", api.close)
        api.write_kubeconfig(self.folder.kubeconfig)
        record.api_address, record.api_port = self.wanted.api_address, api.port
        self.folder.write(record)
        self.client = inprocess.client(api.exchange, server.ADMIN)
        return api

    async def _planes(self, network: protocols.Network, record: state.Record) -> coordinator.Coordinator:
        self.engine = engine.EnginePlane(
            str(self.folder.run / "engine.sock"),
            clock=self.clock,
            opener=self._open_socket,
            on_failure=self._failed,
            binary=spawn.find_binary(),
            log_path=str(self.folder.log / "engine.log"),
            on_event=self._engine_event,
            on_nacks=lambda _: self._doors_changed(),
        )
        await self.engine.start()
        self._rooms.add("engine", self._stop_engine, leave=self.engine.close)
        planes: list[plane.Plane] = [
            self.engine,
            health_ports.HealthPorts(self._open_socket, on_nacks=self._doors_changed),
        ]
        self._rooms.add("kernel planes", self.kernel_planes.close, leave=closing.nothing)
        planes += await self.kernel_planes.start(network, record)
        return coordinator.Coordinator(planes, clock=self.clock, on_failure=self._failed)

    def _doors_changed(self) -> None:
        if hasattr(self, "traffic"):
            self.traffic.retranslate()

    async def _stop_engine(self) -> None:
        await self.engine.shutdown(grace_seconds=0 if self._hurry.is_set() else ENGINE_GRACE_SECONDS)
        await self.engine.close()

    async def _traffic(
        self, api: server.ApiServer, planes: coordinator.Coordinator, network: protocols.Network, record: state.Record
    ) -> None:
        certificate = await asyncio.to_thread(edge_certificate.ensure, self.folder.pki, now=self.clock.now())
        where = dataclasses.replace(
            place.with_pods(
                place.settings_of(record, self.wanted.node_labels, certificate=certificate), record, network
            ),
            access_log=routing_table.AccessLog(share=self.wanted.access_log_share, query=self.wanted.access_log_query)
            if self.wanted.access_log
            else None,
        )
        self.host_ports = host_ports.HostPorts(
            planes, self.folder.run / "host-ports.json", everywhere=routing_settings.every_address(record.localhost)
        )
        client = inprocess.client(api.exchange, inprocess.service_account("traffic-controller"))
        recorder = self._recorder(client, "traffic-controller")
        self.traffic = traffic.Traffic(
            client,
            self.controllers.informers,
            where=where,
            sink=self.host_ports,
            gate=self.gate,
            recorder=recorder,
            clock=self.clock,
            on_failure=self._failed,
        )
        await self.traffic.start()
        self._rooms.add("traffic", self.traffic.close)

    def _recorder(self, client: protocol.Client, component: str, host: str = "") -> events.Recorder:
        made = events.Recorder(
            client,
            component=component,
            clock=self.clock,
            on_failure=self._failed,
            host=host,
            leisure=self._leisure,
        )
        made.start()
        self._rooms.add(f"events of {component}", made.finish)
        return made

    async def _node(
        self, api: server.ApiServer, planes: coordinator.Coordinator, network: protocols.Network, record: state.Record
    ) -> None:
        found = imagefile.read(self.folder.images)
        asked = identity.asked_by(found.environment(), Path(found.folder) if found.folder else None)
        settings = node_settings.NodeSettings(
            name=place.NODE_NAME,
            folder=self.folder.pods,
            asked=asked,
            environ=ranges.pod_environment(),
            dns=ranges.dns_of_pods(record.dns),
            usage_period_seconds=self.wanted.hpa_every_seconds,
            labels=self.wanted.node_labels,
        )
        client = inprocess.client(
            api.exchange, exchange.Identity(f"system:node:{place.NODE_NAME}", ("system:nodes", "system:authenticated"))
        )
        namespaces = ("mnt", "uts", "ipc", "pid") if network.mode != "loopback" else ("mnt",)
        shims = processes.ProcessSettings(
            folder=self.folder.pods,
            engine=(spawn.find_binary(),),
            namespaces=namespaces if folders.can_mount() else (),
            hide=(str(self.folder.path),) if folders.can_mount() else (),
        )
        runs = processes.ProcessRuntime(shims)
        if folders.can_mount() and privilege.is_root():
            await asyncio.to_thread(folders.open_memory, self.folder.pods)
        limits = await asyncio.to_thread(cgroups.Cgroups, self.folder.name)
        self._rooms.add("cgroups", lambda: asyncio.to_thread(limits.close), leave=closing.nothing)
        images = await self._images(runs)
        self._require_runtime(images)
        log.info("images", runtime=images.reason)
        recorder = self._recorder(client, "kubelet", place.NODE_NAME)
        self.kernel_planes.repairs.tell_by(recorder, place.NODE_NAME)
        self.agent = agent.NodeAgent(
            settings,
            node_settings.Doors(
                client=client,
                informers=self.controllers.informers,
                recorder=recorder,
                network=network,
                processes=runs,
                containers=images.runtime,
                cgroups=limits,
                host_ports=self.host_ports,
                prefer_containers=self.wanted.runtime not in ("auto", "process", "none"),
                prober=doors.EngineProber(self.engine),
                gate=doors.Gate(planes),
                clock=self.clock,
                rng=self._rng,
                images=imagefile.Images(self.folder.images),
                leisure=self._leisure,
            ),
            on_failure=self._failed,
        )
        api.chain.pod_door = poddoor.PodDoor(self.agent)
        self._metrics.agent = self.agent
        forget = functools.partial(asyncio.to_thread, folders.close_memory, self.folder.pods)
        self._rooms.add("pods' memory", forget, leave=closing.nothing)
        self._rooms.add("pods", self._end_pods, leave=lambda: self.agent.close(stop_pods=False))
        self._rooms.add("doors", lambda: self._close_doors(planes), leave=closing.nothing)

    def _require_runtime(self, images: engines.Found) -> None:
        """An engine that was asked for and is not here ends the start."""
        if images.runtime is None and self.wanted.runtime not in ("auto", "process", "none"):
            raise errors.CannotStart(f"--runtime {self.wanted.runtime}: {images.reason}")

    async def _images(self, runs: processes.ProcessRuntime) -> engines.Found:
        if self._outside is not None:
            places = own_podman.Places(
                self.folder.containers, self.folder.run / "podman.sock", self.folder.log / "podman.log"
            )
            found, service = await asyncio.to_thread(
                own_podman.find,
                os.environ,
                runs,
                places,
                timer=self.clock,
                forced=self.wanted.runtime,
                fresh=not self._outside.joined,
            )
            if service is not None:
                self._rooms.add("Podman", service.close)
            return found
        return await engines.find(
            os.environ, runs, timer=self.clock, folder=self.folder.pods, forced=self.wanted.runtime
        )

    async def _end_pods(self) -> None:
        await self.agent.close(stop_pods=True, waited_seconds=self._seen_out_seconds)

    async def _close_doors(self, planes: coordinator.Coordinator) -> None:
        self.host_ports.shut()
        allowed = self.agent.longest_drain_seconds()
        self._seen_out_seconds = await closing.see_out(planes, allowed, hurry=self._hurry, clock=self.clock)
        await self.traffic.close()
        await closing.shut(planes, hurry=self._hurry)

    async def _first_table(self, record: state.Record) -> None:
        """Everything runs; a door that cannot be opened ends the start with the name of who holds its port."""
        await self.controllers.start()
        try:
            async with asyncio.timeout(ENGINE_START_SECONDS):
                await self.engine.connected()
            async with asyncio.timeout(ENGINE_START_SECONDS):
                await self.traffic.settled()
        except TimeoutError:
            raise errors.CannotStart(
                f"the engine did not start: {self.engine.problem}; see {self.folder.log}"
            ) from None
        taken = [nack for nack in self.engine.nacks if nack.object.startswith("listener/edge-")]
        if taken:
            words = "; ".join(nack.message for nack in taken)
            raise errors.CannotStart(f"{words}: choose others with --http and --https")
        await self.agent.start()
        await self.host_ports.forget_others(self.agent.uids())
        await self.kernel_planes.begin()

    async def close(self, *, hurry: asyncio.Event) -> None:
        """Ends all of it in reverse order: no new request, pods drained, then planes, API server and store. After a
        start that failed beside pods of an earlier life, what carries and runs those stays as it is."""
        self._hurry = hurry
        hurrying = asyncio.ensure_future(self._when_hurried(hurry))
        await self._rooms.close(leaving=self._leaving)
        hurrying.cancel()

    async def _when_hurried(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self.agent.hurry()
