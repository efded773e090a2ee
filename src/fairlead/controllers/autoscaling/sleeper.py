"""Runs scale to zero: watches the traffic of Services with `fairlead.dev/idle-seconds`, and is told of demand.

Only where the engine can hold requests (`can_hold`): without that, sleeping would cost requests, so nothing is done
and an Event says why. A Service whose selector finds no workload, or more than one, is left alone, too, with an
Event.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api import kinds
from fairlead.api.problem import Problem
from fairlead.client import cache, informer
from fairlead.controllers import context, writes
from fairlead.controllers.autoscaling import decide as decisions
from fairlead.controllers.autoscaling import idle, metrics
from fairlead.controllers.deployment import spec
from fairlead.controllers.writes import Object

NAME = "horizontal-pod-autoscaler"
WINDOW_SECONDS = 2.0
_SIGNS = ("requests_in_flight", "requests_per_second")  # not connections: the engine keeps idle ones to the pods


@dataclass(slots=True)
class _Memory:
    active_at: float
    demanded_at: float | None = None
    slept_at: float | None = None  # since when the workload was seen at zero
    told: str = ""


class Sleeper:
    """The controller; keys are Services. `demand` is what the engine's events call."""

    def __init__(self, given: context.Context, *, traffic: metrics.TrafficSource, can_hold: bool) -> None:
        self._clock = given.clock
        self._traffic = traffic
        self._can_hold = can_hold
        self._services = given.informers.of(kinds.SERVICE)
        self._deployments = given.informers.of(kinds.DEPLOYMENT)
        self._hpas = given.informers.of(kinds.HPA)
        self._memory: dict[str, _Memory] = {}
        self.runner = given.runner(NAME, self._decide, self._services, self._deployments, self._hpas)
        self._services.add_handler(self._service_changed)
        self._deployments.add_handler(self._deployment_changed)

    def demand(self, namespace: str, service: str) -> None:
        """Requests wait at this Service for an endpoint."""
        key = f"{namespace}/{service}"
        found = self._services.cache.get(key)
        if found is not None and idle.read(found) is not None:
            self._memory.setdefault(key, _Memory(self._clock.now())).demanded_at = self._clock.now()
            self.runner.add(key)

    def _service_changed(self, change: informer.Change) -> None:
        if change.new is None:
            self._memory.pop(change.key, None)
        elif idle.read(change.new) is not None:
            self.runner.add(change.key)

    def _deployment_changed(self, change: informer.Change) -> None:
        both = change.old is not None and change.new is not None
        if both and spec.replicas(change.old or {}) == spec.replicas(change.new or {}):
            return
        for service in self._services.cache.list(change.object["metadata"]["namespace"]):
            if idle.read(service) is not None:
                self.runner.add(cache.key_of(service))

    def _decide(self, key: str) -> writes.Decision:
        service = self._services.cache.get(key)
        seconds = idle.read(service) if service is not None else None
        if service is None or seconds is None:
            return writes.NOTHING
        memory = self._memory.setdefault(key, _Memory(self._clock.now()))
        if isinstance(seconds, Problem):
            return self._tell(service, memory, seconds.reason, f"{seconds.path}: {seconds.message}")
        if not self._can_hold:
            text = f"{idle.ANNOTATION} is not honoured: this engine cannot hold requests while a pod starts"
            return self._tell(service, memory, "ScaleToZeroUnavailable", text)
        ports = service["spec"].get("ports") or ()
        unheld = [str(port["port"]) for port in ports if (port.get("protocol") or "TCP") != "TCP"]
        if unheld or not ports or service["spec"].get("clusterIP") == "None":
            what = f"port {', '.join(unheld)} is not TCP" if unheld else "without a port and an address of its own"
            text = f"{idle.ANNOTATION} is for Services whose connections can be held: {what}"
            return self._tell(service, memory, "ScaleToZeroUnavailable", text)
        found = self._workloads(service)
        if len(found) != 1:
            text = f"{idle.ANNOTATION} needs exactly one Deployment behind the Service, found {len(found)}"
            return self._tell(service, memory, "NoSingleWorkload", text)
        return self._sleep_or_wake(service, found[0], memory, seconds)

    def _sleep_or_wake(self, service: Object, workload: Object, memory: _Memory, seconds: float) -> writes.Decision:
        now, current = self._clock.now(), spec.replicas(workload)
        serving = int((workload.get("status") or {}).get("availableReplicas") or 0) > 0
        if current > 0 and (not serving or self._active(service)):
            memory.active_at = now  # one that has just been woken serves first
        if current > 0:
            memory.slept_at = None
        else:
            self._demanded_asleep(service, memory, now)
        verdict = idle.decide(
            idle.Snapshot(
                idle_seconds=seconds,
                replicas=current,
                least_awake=self._least(workload),
                active_at=memory.active_at,
                demanded_at=memory.demanded_at,
                now=now,
            )
        )
        if verdict.replicas == current:
            return writes.Decision(again_seconds=verdict.again_seconds)
        memory.active_at, memory.demanded_at = now, None
        word = "ScaledToZero" if verdict.replicas == 0 else "ScaledFromZero"
        told = writes.Told(workload, (word, f"Service {service['metadata']['name']}: {verdict.reason}"))
        metadata, patch = workload["metadata"], {"spec": {"replicas": verdict.replicas}}
        scale = writes.Patch(kinds.DEPLOYMENT, metadata["namespace"], metadata["name"], patch, "scale", told)
        return writes.Decision((scale,), 1.0 if verdict.replicas else None)

    def _demanded_asleep(self, service: Object, memory: _Memory, now: float) -> None:
        """Only what is asked for since the workload sleeps may wake it: an older demand has been answered, or shows in
        what waits at the engine."""
        if memory.slept_at is None:
            memory.slept_at = now
            if memory.demanded_at is not None and memory.demanded_at < now:
                memory.demanded_at = None
        waiting = self._sample(service, "requests_waiting")
        if waiting is not None and waiting.milli > 0 and waiting.at > memory.slept_at:
            memory.demanded_at = now

    def _active(self, service: Object) -> bool:
        """Something is or was under way; what is not known counts as active."""
        readings = [self._sample(service, sign) for sign in _SIGNS]
        return any(reading is None or reading.milli > 0 for reading in readings)

    def _sample(self, service: Object, sign: str) -> metrics.Sample | None:
        metadata = service["metadata"]
        subject = metrics.Subject("Service", metadata["namespace"], metadata["name"])
        return self._traffic.reading(sign, subject, window_seconds=WINDOW_SECONDS)

    def _workloads(self, service: Object) -> list[Object]:
        selector = service["spec"].get("selector") or {}
        if not selector:
            return []
        return [
            found
            for found in self._deployments.cache.list(service["metadata"]["namespace"])
            if selector.items() <= ((found["spec"]["template"].get("metadata") or {}).get("labels") or {}).items()
        ]

    def _least(self, workload: Object) -> int:
        for hpa in self._hpas.cache.list(workload["metadata"]["namespace"]):
            reference = hpa["spec"]["scaleTargetRef"]
            if (reference["kind"], reference["name"]) == ("Deployment", workload["metadata"]["name"]):
                return decisions.minimum(hpa["spec"])
        return 1

    def _tell(self, service: Object, memory: _Memory, reason: str, text: str) -> writes.Decision:
        if memory.told == text:
            return writes.NOTHING
        memory.told = text
        return writes.Decision((writes.Note(service, "Warning", reason, text),))
