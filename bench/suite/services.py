"""`services`: how long until the kernel carries 1,000 and 5,000 Services of 10 endpoints, and how long a change of one
endpoint takes from the API's write to the first packet that is answered by the new one.

The real rooms in one process: API server on SQLite with durable writes, in-process client, traffic controller,
coordinator, nftables plane, in network namespaces of its own; a client in another namespace connects all the
time. Needs root. The main figure is the median of a change at 5,000 Services. CPU per change is measured in
passes without the asking client: all of the process, less what the same writes cost with the traffic loop closed (the
API server's own part, which kube-proxy's figure does not hold either).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from bench import lab, report, rounds
from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.base import clock, garbage
from fairlead.client import events, informers, inprocess, protocol
from fairlead.controllers import traffic
from fairlead.dataplane import coordinator, nftables
from fairlead.routing import settings
from fairlead.store import sqlite
from fairlead.testing import worlds

SUMMARY = "thousands of Services in the kernel: first load, and a change from the API's write to the packet"
_PORT = 80
_ENDPOINTS = 10
_TARGET = "target"
_CHANGES = {"replaced": ([1], [2]), "counted": ([1], [1, 2])}
_MISSING = "not installed; its figures on such a machine: 1.3 s and 7.3 s; p50 281 ms and 2,050 ms; 0.28 and 2.0 CPU s"


async def run(lab_: lab.Lab) -> report.Report:
    """Both sizes, then the goals of the larger."""
    garbage.calm()  # as a running fairlead is
    figures: rounds.Figures = {}
    for count in (1000, 5000):
        with worlds.World(pods=3) as world:
            found = await _measure(lab_, world, count, changes=30 if lab_.quick else 150)
        lab_.progress(f"{count} Services: {rounds.describe(found)}")
        figures |= {f"{name[:-3]}_at_{count}_{name[-2:]}" if name.endswith("_ms") else f"{name}_at_{count}": value
                    for name, value in found.items()}  # fmt: skip
    limits = [("programmed_s_at_5000", 2.0)]
    for count in (1000, 5000):
        limits += [(f"replaced_p50_at_{count}_ms", 10.0), (f"replaced_p99_at_{count}_ms", 50.0)]
        limits += [(f"counted_p50_at_{count}_ms", 10.0), (f"counted_p99_at_{count}_ms", 50.0)]
        limits += [(f"replaced_cpu_at_{count}_ms", 5.0), (f"counted_cpu_at_{count}_ms", 12.0)]
    return report.Report(
        bench="services",
        main="replaced_p50_at_5000_ms",
        ours=figures,
        missing={"kube-proxy": _MISSING},
        goals=[report.Goal(name, figures.get(name), limit) for name, limit in limits],
    )


async def _measure(lab_: lab.Lab, world: worlds.World, count: int, *, changes: int) -> rounds.Figures:
    found: rounds.Figures = {}
    async with _cluster(lab_) as (client, start, loop):
        await _create(client, world, count)
        before, cpu = time.perf_counter(), time.process_time()
        await start()
        found["programmed_s"] = time.perf_counter() - before
        found["programmed_cpu_s"] = time.process_time() - cpu
        found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for name, sets in _CHANGES.items():
            times = [await _delay(client, world, sets) for _ in range(changes)]
            found[f"{name}_p50_ms"] = statistics.median(times)
            found[f"{name}_p99_ms"] = sorted(times)[int(len(times) * 0.99) - 1]
            found[f"{name}_cpu_ms"] = await _cpu(client, world, sets, changes)
        await loop.close()
        for name, sets in _CHANGES.items():  # what the API server and its watches cost alone
            found[f"{name}_cpu_ms"] -= await _cpu(client, world, sets, changes)
    return found


@contextlib.asynccontextmanager
async def _cluster(lab_: lab.Lab) -> AsyncIterator[tuple[protocol.Client, Callable[[], Any], traffic.Traffic]]:
    """The rooms, without traffic yet; `start` returns when the planes work by the first table."""
    folder, time_ = lab_.path("services"), clock.SystemClock()
    store = sqlite.SqliteStore(folder / "store.db")
    await store.open()
    api = server.ApiServer(store, server.ApiServerConfig(state_folder=folder, port=0), clock=time_)
    await api.start()
    client = inprocess.client(api.exchange, server.ADMIN)
    plane = nftables.NftablesPlane(
        "fairlead-bench", clock=time_, on_failure=_fail, pods=(worlds.PODS4,), services=(worlds.SERVICES4,)
    )
    await plane.start()
    planes = coordinator.Coordinator([plane], clock=time_, on_failure=_fail)
    shared = informers.Informers(client, clock=time_, rng=random.Random(1), on_failure=_fail)
    recorder = events.Recorder(client, component="bench", clock=time_, on_failure=_fail)
    where = settings.Settings(network="kernel", node="bench", lowest_port=0, gateway=worlds.GATEWAY)
    loop = traffic.Traffic(client, shared, where=where, sink=planes, recorder=recorder, clock=time_, on_failure=_fail)

    async def start() -> None:
        await loop.start()
        shared.start()
        while not loop.translation.structure.backends:
            await asyncio.sleep(0.001)
        await loop.settled()

    yield client, start, loop
    for one in (loop, shared, recorder):
        await one.close()
    await plane.close(purge=True)
    await planes.close()
    await api.close()
    await store.close()


def _fail(name: str, error: BaseException) -> None:
    raise RuntimeError(f"{name} failed") from error


async def _create(client: protocol.Client, world: worlds.World, count: int) -> None:
    limit = asyncio.Semaphore(64)

    async def one(number: int) -> None:
        async with limit:
            name = _TARGET if number == 0 else f"service-{number}"
            places = [world.pods[1].address] if number == 0 else _places(number)
            ports = [{"name": "main", "port": _PORT, "protocol": "TCP"}]
            await client.create(
                kinds.SERVICE, {"metadata": {"name": name}, "spec": {"ports": ports}}, namespace="default"
            )
            await client.create(kinds.ENDPOINT_SLICE, _slice(name, places), namespace="default")

    await asyncio.gather(*(one(number) for number in range(count)))


def _places(number: int) -> list[str]:
    first = 1000 + number * _ENDPOINTS
    return [f"10.244.{at // 250}.{at % 250 + 1}" for at in range(first, first + _ENDPOINTS)]


def _slice(name: str, places: list[str]) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "main", "port": worlds.PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [place], "conditions": {"ready": True}} for place in places],
    }


async def _delay(client: protocol.Client, world: worlds.World, sets: tuple[list[int], list[int]]) -> float:
    """Milliseconds from the write that brings the last pod of the second set to its first answer."""
    before, after = sets
    address = (await client.get(kinds.SERVICE, _TARGET, namespace="default"))["spec"]["clusterIP"]
    await _write(client, world, before)
    await asyncio.to_thread(_asked, world, address, world.pods[before[0]].address)
    asking = asyncio.ensure_future(asyncio.to_thread(_asked, world, address, world.pods[after[-1]].address))
    await asyncio.sleep(0.005)
    began = time.perf_counter()
    await _write(client, world, after)
    return (await asking - began) * 1000


def _asked(world: worlds.World, address: str, wanted: str) -> float:
    """When the first answer of that server came to a pod that asks all the time, with a new connection each."""
    return world.pods[0].call(_ask, address, wanted)


def _ask(address: str, wanted: str) -> float:
    end = time.perf_counter() + 10
    while time.perf_counter() < end:
        with socket.socket() as asking, contextlib.suppress(OSError):
            asking.settimeout(0.5)
            asking.connect((address, _PORT))
            if asking.recv(100).decode().split()[0] == wanted:
                return time.perf_counter()
        time.sleep(0.0002)
    raise RuntimeError(f"{address} was never answered by {wanted}")


async def _write(client: protocol.Client, world: worlds.World, places: list[int]) -> None:
    endpoints = [{"addresses": [world.pods[n].address], "conditions": {"ready": True}} for n in places]
    await client.patch(kinds.ENDPOINT_SLICE, f"{_TARGET}-1", {"endpoints": endpoints}, namespace="default")


async def _cpu(client: protocol.Client, world: worlds.World, sets: tuple[list[int], list[int]], changes: int) -> float:
    """Milliseconds of CPU per change."""
    began = time.process_time()
    for turn in range(2 * changes):
        await _write(client, world, sets[turn % 2])
        await asyncio.sleep(0.01)
    return (time.process_time() - began) / (2 * changes) * 1000
