"""`rollout`: rollouts of 4 replicas under 1,000 requests a second, open loop, through the Ingress, a ClusterIP
balanced request by request, and one balanced by connection; kept and new connections, and requests of 3 seconds. The
application dies at once on SIGTERM. Every request that was due counts.

Quiet and rollouts take turns under one load, and the p99 of each is that of all of its turns: what one short quiet
window gave before scattered from 1 to 5 ms. A rollout lasts until its last old pod is gone, and half a second more.

For comparison: HAProxy before the same application, with a script that does what Kubernetes does: the end of a pod and
the new list of endpoints start at the same moment.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import time

import msgspec

from bench import app, candidates, cluster, lab, load, peers, proxying, report, rolling, rounds

SUMMARY = "rollouts under 1,000 requests a second, every way in: failed requests, and p99 against the quiet one"
_RATE, _REPLICAS = 1000.0, 4
_REST_SECONDS, _PEERS_REST_SECONDS = 2.5, 1.0
# Longer than the slow requests, so that they end within it; kept connections of the L4 way are cut after it.
_DRAIN = {"fairlead.dev/drain-seconds": "4"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """--rollouts N."""
    parser.add_argument("--rollouts", type=int, default=0, help="how many (20; quick: 3); a third of them for the peer")


async def run(lab_: lab.Lab) -> report.Report:
    """Ours, then the peer."""
    count = lab_.options.rollouts or (3 if lab_.quick else 20)
    field = proxying.Field()
    only = lab_.options.only.split(",") if lab_.options.only else ["fairlead", "haproxy"]
    ours: rounds.Figures = {}
    if "fairlead" in only:
        ours = await _ours(lab_, count)
    theirs: dict[str, rounds.Figures] = {}
    if "haproxy" in only:
        peer = peers.ALL[0]
        await proxying.start_one(lab_, field, peer.name, _Racing(peer), candidates.Job(backends=()))
        for name, running in field.running.items():
            assert isinstance(running, _Race)
            theirs[name] = await running.measure(math.ceil(count / 3))
    return _report(ours, theirs, field.missing)


async def _ours(lab_: lab.Lab, count: int) -> rounds.Figures:
    of = app.App(replicas=_REPLICAS, pod_annotations=_DRAIN)
    async with cluster.opened(lab_) as made:
        await made.start(app.write(lab_.path("app"), rolling.objects(of)))
        async with made.client() as client:
            ways = await rolling.ways(made, client, of)
            took, turns = [], rolling.Turns()
            async with rolling.under_load(lab_, ways, rate=_RATE, record=True) as seen:
                for turn in range(count):
                    await turns.rest(_REST_SECONDS)
                    async with turns.work():
                        took.append(await rolling.roll(client, of.name, turn))
                    lab_.progress(f"rollout {turn + 1}/{count} in {took[-1]:.2f} s")
    for key, outcome in seen.items():
        if outcome.failed:
            lab_.progress(f"{key}: {outcome.why()}")
    return {
        "failed_ingress": rolling.failed(seen, "ingress"),
        "failed_l7": rolling.failed(seen, "l7"),
        "failed_l4_new": rolling.failed(seen, "l4", "new", "slow"),
        "failed_l4_kept": rolling.failed(seen, "l4", "kept"),
        "requests": float(sum(one.due for one in seen.values())),
        **_p99s(seen, turns, "ingress", "l7"),
        "rollouts": float(count),
        "rollout_seconds": statistics.median(took),
    }


def _p99s(seen: rolling.Seen, turns: rolling.Turns, *ways: str) -> rounds.Figures:
    """Of the worst of these ways."""

    def worst(kind: str, which: list[tuple[float, float]]) -> float:
        return max(rolling.p99_ms(seen[way, kind].answers, which) for way in ways)

    return {
        "quiet_p99_ms": worst("kept", turns.quiet),
        "p99_ms": worst("kept", turns.busy),
        "quiet_p99_new_ms": worst("new", turns.quiet),
        "p99_new_ms": worst("new", turns.busy),
    }


def _report(ours: rounds.Figures, theirs: dict[str, rounds.Figures], missing: dict[str, str]) -> report.Report:
    slower = ours["p99_ms"] / ours["quiet_p99_ms"] if ours else None
    return report.Report(
        bench="rollout",
        main="p99_ms",
        ours=ours,
        peers=theirs,
        missing=missing,
        goals=[
            report.Goal("failed through the Ingress", ours.get("failed_ingress"), 0),
            report.Goal("failed through an L7 ClusterIP", ours.get("failed_l7"), 0),
            report.Goal("failed through an L4 ClusterIP, new connections", ours.get("failed_l4_new"), 0),
            report.Goal("p99 during rollouts of the quiet one", slower, 2.0),
        ],
        notes=["failed_l4_kept: requests on connections that their client held past the drain deadline"],
    )


class _Racing:
    """A peer before processes that a script rolls."""

    def __init__(self, peer: candidates.Candidate) -> None:
        self.name = peer.name
        self._peer = peer

    async def start(self, lab_: lab.Lab, job: candidates.Job) -> candidates.Running:
        """Starts the application's processes and the peer before them."""
        pods = [await _pod(lab_) for _ in range(_REPLICAS)]
        job = msgspec.structs.replace(job, backends=tuple(address for _, address in pods))
        return _Race(lab_, await self._peer.start(lab_, job), job, pods)


async def _pod(lab_: lab.Lab) -> tuple[lab.Process, str]:
    port = lab.free_port()
    env = {"HOST": "127.0.0.1", "PORT": str(port), "HOSTNAME": f"pod-{port}"}
    process = lab_.spawn("pod", [load.binary(), "app"], env=env)
    await lab.listening(process, port)
    return process, f"127.0.0.1:{port}"


class _Race:
    def __init__(
        self, lab_: lab.Lab, peer: candidates.Running, job: candidates.Job, pods: list[tuple[lab.Process, str]]
    ) -> None:
        self.address = peer.address
        self._lab, self._peer, self._job, self._pods = lab_, peer, job, pods

    def pids(self) -> list[int]:
        """The peer's."""
        return list(self._peer.pids())

    async def change(self, job: candidates.Job) -> None:
        """The peer's own way."""
        await self._peer.change(job)

    def stop(self) -> None:
        """Ends the peer; the pods end with the lab."""
        self._peer.stop()

    async def measure(self, count: int) -> rounds.Figures:
        """That number of rollouts, pod by pod."""
        way = rolling.Way("ingress", self.address, "app.localhost")
        took, turns = [], rolling.Turns()
        async with rolling.under_load(self._lab, [way], rate=_RATE, record=True) as seen:
            for _ in range(count):
                await turns.rest(_PEERS_REST_SECONDS)
                async with turns.work():
                    begin = time.monotonic()
                    for at in range(_REPLICAS):
                        await self._replace(at)
                    took.append(time.monotonic() - begin)
        return {
            "failed_ingress": rolling.failed(seen, "ingress"),
            "requests": float(sum(one.due for one in seen.values())),
            **_p99s(seen, turns, "ingress"),
            "rollouts": float(count),
            "rollout_seconds": statistics.median(took),
        }

    async def _replace(self, at: int) -> None:
        old, _ = self._pods[at]
        self._pods[at] = await _pod(self._lab)
        self._job = msgspec.structs.replace(self._job, backends=tuple(address for _, address in self._pods))
        await self._peer.change(self._job)
        old.popen.terminate()  # at the same moment: nobody waits for the other
        await asyncio.sleep(0.5)
