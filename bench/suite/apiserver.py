"""`apiserver`: start, durable creates, lists, watch latency and memory of the API server alone.

The peer is kube-apiserver with etcd. It is in no package registry; without its binaries it is missing, and the goals
are the figures that it showed on two such cores (RECORDED).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

from bench import h2load, lab, load, memory, report
from fairlead.apiserver import codec, write
from fairlead.store import sqlite

SUMMARY = "the API server alone: start, durable creates a second, lists, watch latency, memory"
RECORDED = {
    "ready_seconds": 2.7,
    "creates_per_second_1": 330.0,
    "creates_per_second_16": 1000.0,
    "list_seconds": 0.2,
    "watch_20_p50_ms": 2.9,
    "watch_20_p99_ms": 7.4,
    "watch_100_p50_ms": 2.9,
    "watch_100_p99_ms": 7.4,
    "watch_20_at_500_p50_ms": 2.9,
    "watch_20_at_500_p99_ms": 7.4,
    "watch_100_at_500_p50_ms": 2.9,
    "watch_100_at_500_p99_ms": 7.4,
    "start_100k_seconds": 2.7,
    "memory_idle_mb": 454.0,
    "memory_10k_mb": 661.0,
}
MORE_IS_BETTER = ("creates_per_second_1", "creates_per_second_16")
PODS = "/api/v1/namespaces/default/pods"
CONFIG = "/api/v1/namespaces/default/configmaps"


class Server:
    """A running API server."""

    def __init__(self, lab_: lab.Lab, state: Path) -> None:
        self.lab, self.state = lab_, state

    async def start(self) -> float:
        """Seconds until it says that it is ready."""
        begin = time.monotonic()
        argv = [sys.executable, "-m", "bench.apiserver_alone", str(self.state)]
        self.process = self.lab.spawn("apiserver", argv, core=self.lab.cores.candidate, stdout=subprocess.PIPE)
        line = (await load.Running(self.process).line()).decode().strip()
        took = time.monotonic() - begin
        self.url = line
        self.token = (self.state / "token").read_text().strip()
        self.context = ssl.create_default_context(cafile=str(self.state / "pki/ca.crt"))
        return took

    def end(self) -> None:
        """Ends it."""
        self.process.stop()

    def memory_mb(self) -> float:
        """PSS."""
        return memory.pss_mb([self.process.pid])

    def session(self) -> aiohttp.ClientSession:
        """Connections as the administrator."""
        connector = aiohttp.TCPConnector(ssl=self.context, limit=0)
        headers = {"authorization": f"Bearer {self.token}"}
        return aiohttp.ClientSession(connector=connector, headers=headers, base_url=self.url)


def body(folder: Path) -> Path:
    """A one-container pod that gets a name of its own."""
    container = {"name": "main", "image": "nginx:1.27", "ports": [{"containerPort": 80}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "bench-", "labels": {"app": "bench"}}}
    path = folder / "pod.json"
    path.write_text(json.dumps({**pod, "spec": {"containers": [container]}}))
    return path


async def creates(server: Server, *, clients: int, number: int) -> float:
    """Durable creates a second."""
    argv = ["h2load", "--h1", "-t1", f"-c{clients}", "-m1", f"-n{number}", f"--data={body(server.state)}"]
    argv += [
        f"--header=authorization: Bearer {server.token}",
        "--header=content-type: application/json",
        server.url + PODS,
    ]
    begin = time.monotonic()
    process = server.lab.spawn("h2load", argv, core=server.lab.cores.load, stdout=subprocess.PIPE)
    text = (await load.Running(process).whole()).decode()
    took = time.monotonic() - begin
    succeeded, failed, _ = h2load.parse(text)
    if failed or succeeded != number:
        raise RuntimeError(f"{failed} creates failed:\n{text[-800:]}")
    return number / took


async def fill(path: Path, wanted: int) -> None:
    """Adds objects to a stopped server's store until it holds that many: copies of its first pod."""
    store = sqlite.SqliteStore(path)
    await store.open()
    pattern = codec.decode(store.page("pods/", limit=1).entries[0].value)
    missing = wanted - sum(store.buckets().values())
    for start in range(0, missing, 500):
        names = [f"filled-{index:06}" for index in range(start, min(start + 500, missing))]
        pods = [{**pattern, "metadata": {**pattern["metadata"], "name": name, "uid": name}} for name in names]
        keys = [f"pods/default/{name}" for name in names]
        await asyncio.gather(*(store.write(key, write.encoder(pod)) for key, pod in zip(keys, pods, strict=True)))
    await store.close()


async def lists(server: Server, rounds: int) -> dict[str, float]:
    """All pods, and one."""
    whole, one, size = [], [], 0
    async with server.session() as session:
        for _ in range(rounds):
            begin = time.monotonic()
            async with session.get(PODS) as answer:
                size = len(await answer.read())
            whole.append(time.monotonic() - begin)
        async with session.get(PODS, params={"limit": "1"}) as answer:
            name = (await answer.json())["items"][0]["metadata"]["name"]
        for _ in range(200):
            begin = time.monotonic()
            async with session.get(f"{PODS}/{name}") as answer:
                await answer.read()
            one.append(time.monotonic() - begin)
    return {
        "list_seconds": statistics.median(whole),
        "list_bytes": float(size),
        "get_p50_ms": statistics.median(one) * 1000,
    }


async def watch_latency(server: Server, *, watchers: int, rate: float, seconds: float) -> tuple[float, float]:
    """(p50, p99) in milliseconds from sending a create to the arrival of its event, over all watchers."""
    number = int(rate * seconds)
    async with server.session() as session:
        async with session.get(CONFIG, params={"limit": "1"}) as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        url = f"{server.url}{CONFIG}?watch=true&resourceVersion={version}"
        argv = [sys.executable, "-m", "bench.watch_followers", url, str(server.state / "pki/ca.crt")]
        argv += [str(watchers), str(number * watchers)]
        process = server.lab.spawn(
            "followers", argv, core=server.lab.cores.load, env={"TOKEN": server.token}, stdout=subprocess.PIPE
        )
        followers = load.Running(process)
        if (await followers.line()).strip() != b"ready":
            raise RuntimeError(f"the watches did not open:\n{process.tail()}")
        sent = await _write(session, number, rate)
        text = (await followers.whole()).decode()
    heard: dict[str, list[float]] = json.loads(text) if text.strip() else {}
    seen = sorted(at - sent[name] for name, times in heard.items() for at in times)
    if len(seen) != number * watchers:
        raise RuntimeError(f"{len(seen)} of {number * watchers} events arrived:\n{process.tail()}")
    return seen[len(seen) // 2] * 1000, seen[int(len(seen) * 0.99)] * 1000


async def _write(session: aiohttp.ClientSession, number: int, rate: float) -> dict[str, float]:
    """Creates that many objects at that rate; when each was sent."""
    sent: dict[str, float] = {}
    begin = time.monotonic()

    async def create(index: int) -> None:
        name = f"w{time.monotonic_ns():x}"
        sent[name] = time.monotonic()
        async with session.post(CONFIG, json={"metadata": {"name": name}, "data": {"n": str(index)}}) as answer:
            if answer.status != 201:
                raise RuntimeError(await answer.text())
            await answer.read()

    pending = []
    for index in range(number):
        await asyncio.sleep(max(0.0, begin + index / rate - time.monotonic()))
        pending.append(asyncio.ensure_future(create(index)))
    await asyncio.gather(*pending)
    return sent


async def run(lab_: lab.Lab) -> report.Report:
    """One server after the other on one state folder."""
    server = Server(lab_, lab_.path("state"))
    ours: dict[str, float] = {"first_ready_seconds": await server.start()}
    server.end()
    ready = []
    for _ in range(lab_.rounds(5, 3)):
        ready.append(await server.start())
        server.end()
    ours["ready_seconds"] = statistics.median(ready)
    await server.start()
    ours["memory_idle_mb"] = server.memory_mb()
    lab_.progress("creates from 1 and 16 clients")
    ours["creates_per_second_1"] = await creates(server, clients=1, number=1000)
    ours["creates_per_second_16"] = await creates(server, clients=16, number=9000)
    ours["memory_10k_mb"] = server.memory_mb()
    lab_.progress("lists of 10,000 pods")
    ours |= await lists(server, lab_.rounds(7, 3))
    seconds = lab_.seconds(10.0, 3.0)
    for watchers, rate in ((20, 20.0), (100, 20.0), (20, 500.0), (100, 500.0)):
        lab_.progress(f"{watchers} watchers at {rate:g} writes a second")
        p50, p99 = await watch_latency(server, watchers=watchers, rate=rate, seconds=seconds)
        label = f"watch_{watchers}" + ("_at_500" if rate == 500 else "")
        ours |= {f"{label}_p50_ms": p50, f"{label}_p99_ms": p99}
    lab_.progress("a store of 100,000 objects")
    server.end()
    await fill(server.state / "store.db", 100_000)
    ours["start_100k_seconds"] = await server.start()
    ours["memory_100k_mb"] = server.memory_mb()
    server.end()
    goals = [
        report.Goal(f"{figure}, kube-apiserver's recorded figure", ours[figure], limit, figure in MORE_IS_BETTER)
        for figure, limit in RECORDED.items()
    ]
    reason = "kube-apiserver and etcd are in no package registry; the goals are their recorded figures"
    return report.Report(
        bench="apiserver", main="watch_20_p50_ms", ours=ours, goals=goals, missing={"kube-apiserver": reason}
    )
