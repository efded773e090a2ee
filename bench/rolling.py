"""What the benchmarks of a cluster under load share: three ways in, a mixed load on each of them, rollouts, and turns
of quiet and rollouts under one load, so that whatever else the machine does meets both alike.

The ways: the Ingress, a ClusterIP balanced request by request (`appProtocol: http`), a plain one balanced by
connection.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from bench import app, cluster, lab, load
from fairlead.api import kinds
from fairlead.client import protocol


class Way(msgspec.Struct, frozen=True):
    """An address to send requests to, and the host that they name."""

    name: str
    address: str
    host: str


def objects(of: app.App) -> list[app.Object]:
    """The application with its Ingress, and two more Services: `-l7` and `-l4`."""
    made = of.objects()
    for suffix, words in (("l7", "http"), ("l4", "")):
        service = msgspec.structs.replace(of, protocol=words).service()
        service["metadata"] = {**service["metadata"], "name": f"{of.name}-{suffix}"}
        made.append(service)
    return made


async def ways(made: cluster.Cluster, client: protocol.Client, of: app.App) -> list[Way]:
    """The three ways of that application."""
    found = [Way("ingress", made.edge, of.host)]
    for suffix in ("l7", "l4"):
        service = await client.get(kinds.SERVICE, f"{of.name}-{suffix}", namespace="default")
        found.append(Way(suffix, f"{service['spec']['clusterIP']}:80", of.host))
    return found


class Stream(msgspec.Struct, frozen=True):
    """One generator of the mix."""

    way: str
    kind: str  # kept, new or slow
    running: load.Running


Seen = dict[tuple[str, str], load.Outcome]
_FOREVER = 3600.0
_AFTERMATH_SECONDS = 0.5  # Events and statuses come after what they tell of
_LOOK_SECONDS = 0.2  # each look costs a cluster some 4 ms of CPU, and requests wait behind it


def mixed(lab_: lab.Lab, to: list[Way], *, rate: float, seconds: float, record: bool = False) -> list[Stream]:
    """`rate` requests a second over all ways together: half over kept connections, half over new ones; and on each
    way two requests a second that take three seconds."""
    streams = []
    folder = lab_.path("answers") if record else None
    for way in to:
        for kind in ("kept", "new", "slow"):
            target = load.Target(
                addresses=(way.address,),
                host=way.host,
                paths=("/slow?ms=3000",) if kind == "slow" else ("/",),
                new_connections=kind != "kept",
                timeout_seconds=15.0,
            )
            per_second = 2.0 if kind == "slow" else rate / len(to) / 2
            file = str(folder / f"{way.name}-{kind}") if folder else ""
            spec = load.Open(target=target, rate=per_second, seconds=seconds, connections=32, record=file)
            streams.append(Stream(way.name, kind, load.start(lab_, spec)))
    return streams


async def outcomes(streams: list[Stream]) -> Seen:
    """What each generator saw, by way and kind, when all have ended."""
    seen = await asyncio.gather(*(stream.running.outcome() for stream in streams))
    return {(one.way, one.kind): outcome for one, outcome in zip(streams, seen, strict=True)}


@contextlib.asynccontextmanager
async def under_load(lab_: lab.Lab, to: list[Way], *, rate: float, record: bool = False) -> AsyncIterator[Seen]:
    """The mix from a second before the body to a second after it. What was seen is there after the block."""
    seen: Seen = {}
    streams = mixed(lab_, to, rate=rate, seconds=_FOREVER, record=record)
    await asyncio.sleep(1.0)
    yield seen
    await asyncio.sleep(1.0)
    for stream in streams:
        stream.running.enough()
    seen.update(await outcomes(streams))


class Turns:
    """When it was quiet and when not, while the load went on."""

    def __init__(self) -> None:
        self.quiet: list[tuple[float, float]] = []
        self.busy: list[tuple[float, float]] = []

    async def rest(self, seconds: float) -> None:
        """Nothing happens for so long."""
        begin = time.time()
        await asyncio.sleep(seconds)
        self.quiet.append((begin, time.time()))

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """The body and its aftermath."""
        begin = time.time()
        yield
        await asyncio.sleep(_AFTERMATH_SECONDS)
        self.busy.append((begin, time.time()))


def p99_ms(answers: Sequence[tuple[float, float]], turns: Sequence[tuple[float, float]]) -> float:
    """The 99th percentile of the answers to requests that were due in those turns, which are in order."""
    begins = [begin for begin, _ in turns]
    latencies = sorted(ms for due, ms in answers if (at := bisect.bisect_right(begins, due)) and due < turns[at - 1][1])
    return latencies[math.ceil(len(latencies) * 0.99) - 1]


def failed(seen: Mapping[tuple[str, str], load.Outcome], way: str, *kinds_: str) -> float:
    """How many requests failed on a way."""
    return float(sum(seen[way, kind].failed for kind in kinds_ or ("kept", "new", "slow")))


async def settled(client: protocol.Client, name: str, *, seconds: float = 120.0) -> float:
    """Returns after how many seconds the Deployment has exactly the pods that it should, all available, and the pods
    that it had before are gone."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        found = await client.get(kinds.DEPLOYMENT, name, namespace="default")
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
        if status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3:
            pods = await client.list(kinds.POD, namespace="default", label_selector=f"app={name}")
            if len(pods.items) == wanted:
                return time.monotonic() - begin
        await asyncio.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"deployment {name} has not settled within {seconds:.0f} s: {status}")


async def roll(client: protocol.Client, name: str, turn: int) -> float:
    """One rollout, as `kubectl rollout restart` makes it. Returns its seconds."""
    change = {"spec": {"template": {"metadata": {"annotations": {"bench/turn": str(turn)}}}}}
    await client.patch(kinds.DEPLOYMENT, name, change, namespace="default", patch_type="strategic")
    return await settled(client, name)
