"""All controllers of a cluster behind one door: `start`, `synced`, `close`.

`client_for(NAME)` gives a Client with the identity of ServiceAccount NAME in kube-system; the shared informers read as
`kube-controller-manager`. Nothing here polls but the autoscaler: an idle suite costs its watches.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.base import clock as clocks
from fairlead.base import leisure as leisures
from fairlead.client import informer, informers, protocol
from fairlead.controllers import context, customs, namespaces, scheduling, serving_gate
from fairlead.controllers.autoscaling import controller as autoscaling
from fairlead.controllers.autoscaling import explaining, metrics, serving, sleeper
from fairlead.controllers.cronjob import controller as cronjob
from fairlead.controllers.daemonset import controller as daemonset
from fairlead.controllers.deployment import controller as deployment
from fairlead.controllers.disruption import controller as disruption
from fairlead.controllers.endpoints import controller as endpoints
from fairlead.controllers.garbage import controller as garbage
from fairlead.controllers.job import controller as job
from fairlead.controllers.replicaset import controller as replicaset
from fairlead.controllers.statefulset import controller as statefulset
from fairlead.controllers.volumes import controller as volumes

INFORMERS = "kube-controller-manager"


class ControllerSuite:
    """Every controller, over shared informers (which others may use, too: `informers`). `served` are groups that an
    API server may mount.

    `gate` says which pods the planes serve (without it, readiness is enough). `volume_folders` is where claims get
    their volumes (nowhere without it). `root_ca_pem` is published to every namespace; `hpa_window_seconds` is over how
    long CPU is averaged; `can_hold` says that the engine holds requests of an empty Service, which scale to zero needs.
    """

    def __init__(
        self,
        client_for: Callable[[str], protocol.Client],
        *,
        clock: clocks.Clock,
        rng: random.Random,
        on_failure: informer.Failure,
        metrics_source: metrics.MetricsSource | None = None,
        traffic_source: metrics.TrafficSource | None = None,
        known_kinds: Sequence[Kind] = kinds.KINDS,
        root_ca_pem: str = "",
        hpa_period_seconds: float = 1.0,
        hpa_window_seconds: float = 5.0,
        can_hold: bool = False,
        volume_folders: volumes.Folders | None = None,
        gate: serving_gate.Gate | None = None,
        leisure: leisures.Leisure | None = None,
    ) -> None:
        self.informers = informers.Informers(client_for(INFORMERS), clock=clock, rng=rng, on_failure=on_failure)
        self._context = given = context.Context(
            client_for, self.informers, clock, rng, on_failure, gate=gate, leisure=leisure
        )
        self.deployments = deployment.Deployments(given)
        self.replica_sets = replicaset.ReplicaSets(given)
        self.stateful_sets = statefulset.StatefulSets(given)
        self.daemon_sets = daemonset.DaemonSets(given)
        self.jobs = job.Jobs(given)
        self.cron_jobs = cronjob.CronJobs(given)
        self.disruptions = disruption.Disruptions(given)
        self.endpoints = endpoints.Endpoints(given)
        self.garbage = garbage.Garbage(given, collected=garbage.collected_of(known_kinds))
        self.namespaces = namespaces.Namespaces(given, emptied=known_kinds, root_ca_pem=root_ca_pem)
        self.volumes = volumes.Volumes(given, folders=volume_folders)
        usage, traffic = metrics_source or metrics.NoMetrics(), traffic_source or metrics.NoMetrics()
        self.metrics_apis = serving.MetricsApis(
            pods=self.informers.of(kinds.POD).cache,
            nodes=self.informers.of(kinds.NODE).cache,
            usage=usage,
            traffic=traffic,
            clock=clock,
            window_seconds=hpa_window_seconds,
        )
        scheduling.Scheduling(given)
        self.sleeper = sleeper.Sleeper(given, traffic=traffic, can_hold=can_hold)
        self.autoscalers = autoscaling.Autoscalers(
            given,
            usage=usage,
            traffic=traffic,
            scalable=[kind for kind in known_kinds if "scale" in kind.subresources],
            period_seconds=hpa_period_seconds,
            window_seconds=hpa_window_seconds,
        )
        customs.CustomKinds(given, followers=(self.garbage, self.namespaces, self.autoscalers.targets))

    async def start(self) -> None:
        """Starts to list, watch and reconcile; returns at once."""
        for recorder in self._context.recorders:
            recorder.start()
        self.informers.start()
        self.namespaces.start()
        self.volumes.start()

    def served(self) -> dict[str, serving.Group]:
        """Groups that an API server may mount: the metrics APIs and explanations, by group."""
        explanations = explaining.group(self.autoscalers.explanation)
        return {**self.metrics_apis.groups(), explanations.group: explanations}

    async def synced(self) -> None:
        """Returns when every controller has seen all there is."""
        await self.informers.wait_synced()

    @property
    def failures(self) -> dict[str, str]:
        """What is failing now: `controller key` -> why."""
        return {
            f"{made.name} {key}": problem
            for made in self._context.runners
            for key, problem in made.queue.failures.items()
        }

    @property
    def idle(self) -> bool:
        """No key is being worked on."""
        return all(made.queue.idle for made in self._context.runners)

    async def finish(self) -> None:
        """Ends all of it when the Events of what was done are written."""
        for made in self._context.runners:
            await made.close()
        await asyncio.gather(*(recorder.finish() for recorder in self._context.recorders))
        await self.close()

    async def close(self) -> None:
        """Ends all of it; the next start goes on from what the API says."""
        for made in self._context.runners:
            await made.close()
        for recorder in self._context.recorders:
            await recorder.close()
        await self.informers.close()
