"""`soak`: a cluster under a light load while random things happen to it, the same ones for the same seed: scaling,
rollouts, kills of pods, engine and fairlead, evictions, failing readiness, Services, Ingresses, certificates, Jobs.

Every request that was due counts. What was in flight at a kill of the engine's worker or of a pod's process may fail
then, nothing else may; what a client held past the drain deadline on a connection of the L4 way is counted. The
cluster comes to rest three times (before, after the part in which fairlead is killed, at the end) and what it holds of
the machine is counted: what has grown between two rests is named.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import ssl
import time
from pathlib import Path

from bench import app, census, cluster, lab, load, report, rolling, soak_acts
from bench.soak_acts import Object

SUMMARY = "random acts on a cluster under load for minutes: failed requests, and what grows"
_ACT_SECONDS = (0.5, 6.0)
_SETTLE_SECONDS = 620.0  # the API server compacts every 300 what is older than 300
_MOODY = "moody.localhost"
_KEPT = "l4 kept: reset"  # held past the drain deadline by their client: counted, see `rollout`


def add_options(parser: argparse.ArgumentParser) -> None:
    """--seed N --settle S."""
    parser.add_argument(
        "--settle", type=float, default=-1.0, help="seconds of idling before the last census (620; quick: 0)"
    )
    parser.add_argument("--seed", type=int, default=1, help="which random acts")


async def run(lab_: lab.Lab) -> report.Report:
    """A part with kills of fairlead, then one without, each from rest to rest."""
    seconds = lab_.seconds(1200.0, 45.0)
    of = app.App(pod_annotations={"fairlead.dev/drain-seconds": "5"})
    async with cluster.opened(lab_, network="kernel" if lab_.options.network == "auto" else "") as made:
        folder = app.write(lab_.path("app"), _objects(of))
        _more_images(folder)
        await made.start(folder)
        async with made.client() as client:
            acts = soak_acts.Acts(lab_, made, client, random.Random(lab_.options.seed))
            await acts.change_certificate()
            soak = _Soak(lab_, made, acts, await rolling.ways(made, client, of))
            await soak.part(5.0, quiet=True)
            await soak.part(seconds * 0.25, kill_fairlead=True)
            await soak.part(seconds * 0.75)
            settle = lab_.options.settle if lab_.options.settle >= 0 else 0.0 if lab_.quick else _SETTLE_SECONDS
            if settle:
                await soak.idle(settle)
        return soak.report()


class _Soak:
    """The parts, and what was seen in them: `counts` has a census at the rest after each."""

    def __init__(self, lab_: lab.Lab, made: cluster.Cluster, acts: soak_acts.Acts, ways: list[rolling.Way]) -> None:
        self.counts: list[census.Figures] = []
        self.seen: list[tuple[str, load.Outcome]] = []
        self.failures: list[tuple[float, str]] = []
        self.secure_due = 0
        self._lab, self._made, self._acts = lab_, made, acts
        self._ways = [*ways, rolling.Way("moody", made.edge, _MOODY)]
        self._rng = random.Random(lab_.options.seed)

    async def part(self, seconds: float, *, quiet: bool = False, kill_fairlead: bool = False) -> None:
        """Acts under load for so long (none when `quiet`), rest under load, then a census without load."""
        streams, secure = self._load(), _Secure(self._made)
        asking = asyncio.ensure_future(secure.run())
        wave = self._burn(rate=8.0, seconds=seconds / 2)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not quiet:
                await self._acts.one(kill_fairlead=kill_fairlead)
            await asyncio.sleep(self._rng.uniform(*_ACT_SECONDS))
        await self._acts.rest()
        asking.cancel()
        for stream in streams:
            stream.running.enough()
        outcomes = await rolling.outcomes(streams)
        self.seen += [(f"{way} {kind}", one) for (way, kind), one in outcomes.items()]
        self.seen.append(("wave", await wave.outcome()))
        self.secure_due += secure.due
        self.failures += [(at, f"https: {why}") for at, why in secure.failures]
        await asyncio.sleep(3.0)  # connections that ended leave the tables
        self.counts.append(await asyncio.to_thread(census.take, self._made))
        self._lab.progress(f"at rest: {json.dumps({name: round(value, 2) for name, value in self.counts[-1].items()})}")

    async def idle(self, seconds: float) -> None:
        """History is compacted and what is kept of it in memory goes: the last census is taken anew."""
        await asyncio.sleep(seconds)
        self.counts[-1] = await asyncio.to_thread(census.take, self._made)

    def _load(self) -> list[rolling.Stream]:
        streams = rolling.mixed(self._lab, self._ways, rate=80.0, seconds=3600.0)
        return [*streams, rolling.Stream("auto", "burn", self._burn(rate=2.0, seconds=3600.0))]

    def _burn(self, *, rate: float, seconds: float) -> load.Running:
        target = load.Target(addresses=(self._made.edge,), host="auto.localhost", paths=("/burn",))
        return load.start(self._lab, load.Open(target=target, rate=rate, seconds=seconds, connections=16))

    def report(self) -> report.Report:
        """What failed, what has grown, what the logs say."""
        failures = [(at, f"{name}: {why} {what}") for name, one in self.seen for at, why, what in one.failed_at]
        failures += self.failures
        others = sorted(one for one in failures if not self._acts.excuse(one[0]) and not one[1].startswith(_KEPT))
        for at, what in others:
            self._lab.progress(f"failed at {self._lab.since(at):.2f} s: {what}")
        bad, warned = census.bad_lines(self._made), census.warnings(self._made)
        for line in bad[:20]:
            self._lab.progress(f"log: {line}")
        grown = self._grown()
        ours = {
            "requests": float(sum(one.due for _, one in self.seen) + self.secure_due),
            "failed": float(sum(one.failed for _, one in self.seen) + len(self.failures)),
            "failed_unexcused": float(len(others)),
            "failed_l4_kept": float(sum(what.startswith(_KEPT) for _, what in failures)),
            "acts": float(sum(self._acts.done.values())),
            "figures_grown": float(len(grown)),
            "bad_log_lines": float(len(bad)),
        }
        goals = [
            report.Goal("failed but at a kill of the engine or of the pod", ours["failed_unexcused"], 0),
            report.Goal("figures that have grown", ours["figures_grown"], 0),
            report.Goal("lines in the logs that tell of a bug", ours["bad_log_lines"], 0),
        ]
        notes = [f"{name} has grown: {words}" for name, words in grown.items()]
        notes += [f"acts: {json.dumps(self._acts.done)}", f"warnings: {json.dumps(warned)}"]
        more = {f"rest {at}": figures for at, figures in enumerate(self.counts, start=1)}
        return report.Report(bench="soak", main="failed_unexcused", ours=ours, goals=goals, notes=notes, more=more)

    def _grown(self) -> dict[str, str]:
        first, between, last = self.counts
        return {
            name: f"{first[name]:.4g}, {between[name]:.4g}, {last[name]:.4g}"
            for name in last
            if census.grew(name, first[name], between[name], last[name])
        }


class _Secure:
    """Ten new HTTPS connections a second; `failures` are the moments and reasons."""

    def __init__(self, made: cluster.Cluster) -> None:
        self.due = 0
        self.failures: list[tuple[float, str]] = []
        self._made = made
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    async def run(self) -> None:
        """Until it is cancelled."""
        asked: set[asyncio.Task[None]] = set()
        while True:
            self.due += 1
            task = asyncio.ensure_future(self._one())
            asked.add(task)
            task.add_done_callback(asked.discard)
            await asyncio.sleep(0.1)

    async def _one(self) -> None:
        try:
            async with asyncio.timeout(10.0):
                host, _, port = self._made.https.rpartition(":")
                reader, writer = await asyncio.open_connection(
                    host, int(port), ssl=self._context, server_hostname=soak_acts.TLS_HOST
                )
                with contextlib.closing(writer):
                    writer.write(f"GET / HTTP/1.1\r\nHost: {soak_acts.TLS_HOST}\r\nConnection: close\r\n\r\n".encode())
                    line = await reader.readline()
                if b" 200 " not in line:
                    self.failures.append((time.time(), line.decode(errors="replace").strip() or "no answer"))
        except (OSError, TimeoutError, EOFError) as error:
            self.failures.append((time.time(), repr(error)))


def _objects(of: app.App) -> list[Object]:
    """`app` behind every way and HTTPS, `moody` with a ConfigMap, `auto` with an autoscaler."""
    objects = rolling.objects(of)
    for one in objects:
        if one["kind"] == "Ingress":
            one["spec"]["tls"] = [{"hosts": [of.host], "secretName": "tls"}]
            one["metadata"]["annotations"] = {"fairlead.dev/ssl-redirect": "false"}
    for name, replicas in (("moody", 2), ("auto", 1)):
        objects += app.App(name=name, replicas=replicas, pod_annotations=dict(of.pod_annotations)).objects()
    moody = next(one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == "moody")
    pod = moody["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "config", "configMap": {"name": "config"}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "config", "mountPath": "/etc/soak"}]
    for one in objects:
        if one["kind"] == "Deployment" and one["metadata"]["name"] != of.name:
            one["spec"]["template"]["spec"]["containers"][0]["image"] = "my-app:1"
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
    down = {"scaleDown": {"stabilizationWindowSeconds": 15}}
    budget = {"selector": {"matchLabels": {"app": of.name}}, "minAvailable": 2}
    objects.append(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": of.name}, "spec": budget}
    )
    return [soak_acts.config("0"), *objects, app.autoscaler("auto", cpu, behavior=down, most=4)]


def _more_images(folder: Path) -> None:
    file = folder / "fairlead.yaml"
    images = json.loads(file.read_text())
    images["images"]["my-app:*"] = {"command": ["python3", str(lab.ROOT / "examples/my-app/server.py")]}
    file.write_text(json.dumps(images))
