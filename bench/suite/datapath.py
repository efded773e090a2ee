"""`datapath`: what a Service costs a connection: requests, new connections and bytes a second from one pod to another,
straight to its address (with conntrack on, as everywhere) and through its Service, carried by nftables, at connect time
(eBPF) or by the engine, at 1 and 5,000 Services.

Two pods in network namespaces wired as the node agent wires them; candidates take turns within each round. Needs root.
The main figure is new connections a second; the ratios of the goals are medians of each round's own ratio to direct.
Beside them stands the CPU of client and server (not the engine's), which tells more on a machine that others use, too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench import cpu, lab, load, report, rounds
from bench import engine as engines
from fairlead.base import clock, netns
from fairlead.dataplane import coordinator, engine, nftables
from fairlead.dataplane import plane as plane_contract
from fairlead.dataplane.connect_time import plane as connect_time
from fairlead.routing import table
from fairlead.testing import worlds

SUMMARY = "requests, new connections and bytes through a Service against straight to the pod, at 1 and 5,000 Services"
_SMALL, _LARGE = 8081, 8082
_KERNEL, _ENGINE, _CONNECT = "10.96.0.10", "10.96.0.11", "10.96.0.12"
_LARGE_BYTES = 1 << 20
_GOALS = {
    "kernel": {"requests_per_second": 0.95, "connections_per_second": 0.90, "megabytes_per_second": 0.95},
    "connect time": dict.fromkeys(("requests_per_second", "connections_per_second", "megabytes_per_second"), 0.98),
}


async def run(lab_: lab.Lab) -> report.Report:
    """Rounds at one Service, then at 5,000."""
    with worlds.World(pods=2) as world:
        _never_run_out_of_ports(world)
        servers = await _servers(lab_, world)
        kernel = nftables.NftablesPlane(
            "fairlead-bench",
            clock=clock.SystemClock(),
            on_failure=_fail,
            pods=(worlds.PODS4,),
            services=(worlds.SERVICES4,),
        )
        await kernel.start()
        proxy = engine.EnginePlane(
            str(lab_.path("run") / "engine.sock"), clock=clock.SystemClock(), on_failure=_fail, binary=engines.binary()
        )
        await proxy.start()
        connecting = connect_time.ConnectPlane(kernel, on_failure=_fail)
        for pod in world.pods:
            connecting.admit(pod.name, pod.call(netns.cookie_here))
        await connecting.attach()
        others = coordinator.Coordinator([proxy, kernel], clock=clock.SystemClock(), on_failure=_fail)
        planes = [others, _WithoutOne(connecting, "kernel:")]
        candidates = {"direct": world.pods[1].address, "kernel": _KERNEL, "connect time": _CONNECT}
        few = await _rounds(_Where(lab_, world, servers), planes, 1, {**candidates, "engine": _ENGINE})
        many = await _rounds(_Where(lab_, world, servers), planes, 5000, candidates)
        await connecting.close()
        await proxy.shutdown(grace_seconds=0)
        await kernel.close(purge=True)
        await others.close()
    return _report(few, many)


class _WithoutOne:
    """The plane at connect time without the Service that is to be measured by nftables alone."""

    def __init__(self, plane: connect_time.ConnectPlane, prefix: str) -> None:
        self._plane, self._prefix = plane, prefix

    async def apply(self, structure: table.Structure) -> int:
        kept = {name: one for name, one in structure.backends.items() if not name.startswith(self._prefix)}
        return await self._plane.apply(table.Structure(backends=kept))

    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> int:
        return await self._plane.apply_endpoints(delta)

    async def acked(self, sequence: int) -> tuple[plane_contract.Nack, ...]:
        return (await self._plane.acked(sequence)).nacks


def _fail(name: str, error: BaseException) -> None:
    raise RuntimeError(f"{name} failed") from error


def _never_run_out_of_ports(world: worlds.World) -> None:
    """One client opens connections for minutes: what is closed must not hold its port."""
    for pod in world.pods:
        pod.exec("sysctl -qw net.ipv4.tcp_max_tw_buckets=256")
        pod.exec("sysctl -qw net.ipv4.tcp_tw_reuse=1")
    world.pods[0].call(_widen_ports)
    for state in ("time_wait", "close"):
        world.node.exec(f"sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_{state}=1")


def _widen_ports() -> None:
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535")


async def _servers(lab_: lab.Lab, world: worlds.World) -> list[lab.Process]:
    address, made = world.pods[1].address, []
    for port, size in ((_SMALL, 128), (_LARGE, _LARGE_BYTES)):
        spec = load.BackendSpec(servers=1, address=address, ports=(port,), answer_bytes=size)
        process = lab_.spawn(
            "backend", _inside(world.pods[1], "backend", spec), core=lab_.cores.candidate, stdout=subprocess.PIPE
        )
        assert process.popen.stdout is not None
        if not await asyncio.to_thread(process.popen.stdout.readline):
            raise RuntimeError(f"the backend did not start:\n{process.tail()}")
        made.append(process)
    return made


def _inside(space: worlds.Space, command: str, spec: msgspec.Struct) -> list[str]:
    return ["ip", "netns", "exec", space.name, load.binary(), command, msgspec.json.encode(spec).decode()]


def _table(count: int, pod: str) -> tuple[table.Structure, list[table.BackendEndpoints]]:
    """The Services that are measured, and so many others of 10 endpoints."""
    backends, sets = {}, []
    for port in (_SMALL, _LARGE):
        for name, address, algorithm in (
            ("kernel", _KERNEL, ""),
            ("engine", _ENGINE, "least-request"),
            ("connect-time", _CONNECT, ""),
        ):
            virtual = (table.Virtual(address=address, port=port),)
            made = table.Backend(id=f"{name}:{port}", protocol="tcp", algorithm=algorithm, virtual=virtual)
            backends[made.id] = made
            sets.append(table.BackendEndpoints(backend=made.id, endpoints=(table.Endpoint(address=pod, port=port),)))
    for number in range(count - 1):
        virtual = (table.Virtual(address=f"10.96.{1 + number // 250}.{number % 250 + 1}", port=80),)
        made = table.Backend(id=f"other/{number}:80", protocol="tcp", virtual=virtual)
        backends[made.id] = made
        places = [1000 + number * 10 + at for at in range(10)]
        endpoints = tuple(table.Endpoint(address=f"10.244.{at // 250}.{at % 250 + 1}", port=80) for at in places)
        sets.append(table.BackendEndpoints(backend=made.id, endpoints=endpoints))
    door = table.Listener(
        id="transparent-tcp", protocol="tcp", transparent=True, sockets=(f"tcp:{worlds.GATEWAY}:15001",)
    )
    return table.Structure(backends=backends, listeners={door.id: door}), sets


@dataclass(frozen=True)
class _Where:
    lab_: lab.Lab
    world: worlds.World
    servers: Sequence[lab.Process]

    def cpu_seconds(self) -> float:
        """Of the servers and of the clients that have ended."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended.ru_utime + ended.ru_stime + sum(cpu.process_seconds(one.pid) for one in self.servers)


async def _rounds(
    where: _Where, planes: Sequence[Any], count: int, candidates: Mapping[str, str]
) -> dict[str, list[rounds.Figures]]:
    lab_ = where.lab_
    structure, sets = _table(count, where.world.pods[1].address)
    for one in planes:
        started = time.monotonic()
        await one.apply_endpoints(sets)
        nacks = await one.acked(await one.apply(structure))
        if nacks:
            raise RuntimeError(f"not carried: {nacks}")
        lab_.progress(f"{count} Services, programmed in {time.monotonic() - started:.2f} s")
    samples: dict[str, list[rounds.Figures]] = {name: [] for name in candidates}
    for turn in range(lab_.rounds(10, 4)):
        for name in rounds.order(list(candidates), turn):
            samples[name].append(await _measure(where, candidates[name]))
            lab_.progress(f"{count} Services, round {turn + 1}, {name}: {rounds.describe(samples[name][-1])}")
    return samples


async def _measure(where: _Where, address: str) -> rounds.Figures:
    seconds = where.lab_.seconds(2.0, 0.7)
    small = load.Target(addresses=(f"{address}:{_SMALL}",))
    kept, kept_cpu = await _load(where, load.Closed(target=small, connections=32, seconds=seconds))
    fresh = msgspec.structs.replace(small, new_connections=True)
    opened, opened_cpu = await _load(where, load.Closed(target=fresh, connections=32, seconds=seconds))
    large = load.Target(addresses=(f"{address}:{_LARGE}",))
    moved, moved_cpu = await _load(where, load.Closed(target=large, connections=4, seconds=seconds))
    return {
        "requests_per_second": kept.rate,
        "connections_per_second": opened.rate,
        "megabytes_per_second": moved.body_bytes / moved.seconds / 1e6,
        "request_cpu_us": kept_cpu / kept.answered * 1e6,
        "connection_cpu_us": opened_cpu / opened.answered * 1e6,
        "megabyte_cpu_us": moved_cpu / moved.body_bytes * 1e12,
    }


async def _load(where: _Where, spec: load.Closed) -> tuple[load.Outcome, float]:
    """What the client saw, and the CPU seconds of both sides."""
    before = where.cpu_seconds()
    argv = _inside(where.world.pods[0], "closed", spec)
    process = where.lab_.spawn("closed", argv, core=where.lab_.cores.load, stdout=subprocess.PIPE)
    outcome = await load.Running(process).outcome()
    await asyncio.to_thread(process.popen.wait)
    if outcome.failed:
        raise RuntimeError(outcome.why())
    return outcome, where.cpu_seconds() - before


def _report(few: dict[str, list[rounds.Figures]], many: dict[str, list[rounds.Figures]]) -> report.Report:
    rows = {"direct": rounds.medians(few["direct"]), "engine": rounds.medians(few["engine"])}
    rows["connect time"] = rounds.medians(few["connect time"])
    rows |= {f"{name} at 5000": rounds.medians(samples) for name, samples in many.items()}
    goals, spread = [], []
    for plane, figures in _GOALS.items():
        for (count, samples), (figure, limit) in itertools.product(((1, few), (5000, many)), figures.items()):
            ratios = [k[figure] / d[figure] for k, d in zip(samples[plane], samples["direct"], strict=True)]
            text = f"{plane} / direct in {figure} at {count} Services"
            goals.append(report.Goal(text, statistics.median(ratios), limit, at_least=True))
            spread.append(f"{text}: {json.dumps([round(one, 3) for one in sorted(ratios)])}")
    for plane, (count, samples) in itertools.product(_GOALS, ((1, few), (5000, many))):
        for figure in ("request_cpu_us", "connection_cpu_us", "megabyte_cpu_us"):
            ratios = [k[figure] / d[figure] for k, d in zip(samples[plane], samples["direct"], strict=True)]
            spread.append(f"{plane} / direct in {figure} at {count} Services: {statistics.median(ratios):.3f}")
    return report.Report(
        bench="datapath",
        main="connections_per_second",
        name="kernel",
        ours=rounds.medians(few["kernel"]),
        more=rows,
        goals=goals,
        notes=spread,
    )
