"""The probes of one running container: who asks (the engine or the sandbox), and what each answer means.

startup holds back the two others; liveness and startup failures end the container, readiness only says so. Named ports
are the container's own. In loopback mode the port is the one that the pod really listens on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.node import protocols, runtime

Object = dict[str, Any]
Word = Literal["startup", "liveness", "readiness"]
_FIELDS: dict[Word, str] = {"startup": "startupProbe", "liveness": "livenessProbe", "readiness": "readinessProbe"}


class ProbeProblem(Exception):
    """The probe cannot be made; the message says which field."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where a container is asked."""

    pod_uid: str
    ip: str
    ports: Mapping[str, int]
    env: Mapping[str, str]
    cwd: str


def wanted(container: Object, word: Word) -> Object | None:
    """That probe of the container, if it has one."""
    found: Object | None = container.get(_FIELDS[word])
    return found


def grace_seconds(container: Object, word: Word) -> float | None:
    """What a container that fails that probe has from SIGTERM to SIGKILL; None is what its pod has."""
    found = container[_FIELDS[word]].get("terminationGracePeriodSeconds")
    return None if found is None else float(found)


def probe_id(pod_uid: str, container: str, word: str) -> str:
    return f"{pod_uid}/{container}/{word}"


def plan(container: Object, word: Word, where: Where) -> protocols.ProbeSpec | runtime.ExecProbe:
    """How to ask. Raises ProbeProblem."""
    probe = container[_FIELDS[word]]
    timings: dict[str, Any] = {
        "initial_delay_seconds": float(probe.get("initialDelaySeconds") or 0),
        "period_seconds": float(probe.get("periodSeconds") or 10),
        "timeout_seconds": float(probe.get("timeoutSeconds") or 1),
        "success_threshold": int(probe.get("successThreshold") or 1),
        "failure_threshold": int(probe.get("failureThreshold") or 3),
        "fast_start": word != "liveness",
    }
    identity = probe_id(where.pod_uid, container["name"], word)
    if probe.get("exec"):
        argv = tuple(probe["exec"].get("command") or ())
        return runtime.ExecProbe(identity, container["name"], argv, where.env, where.cwd, **timings)
    if probe.get("httpGet"):
        return _http(probe["httpGet"], identity, container, where, timings)
    if probe.get("tcpSocket"):
        action = probe["tcpSocket"]
        port = real_port(action.get("port"), container, where.ports, f"{_FIELDS[word]}.tcpSocket.port")
        return protocols.ProbeSpec(identity, "tcp", action.get("host") or where.ip, port, **timings)
    if probe.get("grpc"):
        action = probe["grpc"]
        port = real_port(action.get("port"), container, where.ports, f"{_FIELDS[word]}.grpc.port")
        return protocols.ProbeSpec(identity, "grpc", where.ip, port, service=action.get("service") or "", **timings)
    raise ProbeProblem(f"{_FIELDS[word]} names no httpGet, tcpSocket, grpc or exec")


def _http(
    action: Object, identity: str, container: Object, where: Where, timings: dict[str, Any]
) -> protocols.ProbeSpec:
    port = real_port(action.get("port"), container, where.ports, "httpGet.port")
    path = action.get("path") or "/"
    return protocols.ProbeSpec(
        identity,
        "http",
        action.get("host") or where.ip,
        port,
        path=path if path.startswith("/") else f"/{path}",
        scheme=(action.get("scheme") or "HTTP").lower(),
        headers=tuple((entry["name"], entry.get("value", "")) for entry in action.get("httpHeaders") or []),
        **timings,
    )


def real_port(port: object, container: Object, ports: Mapping[str, int], where: str) -> int:
    """The number of a port given by number or name, as it is really listened on. Raises ProbeProblem."""
    if isinstance(port, str) and not port.isdigit():
        numbers = [entry["containerPort"] for entry in container.get("ports") or [] if entry.get("name") == port]
        if not numbers:
            raise ProbeProblem(f"{where}: container {container['name']} has no port named {port!r}")
        port = numbers[0]
    if port is None:
        raise ProbeProblem(f"{where}: is missing")
    number = int(str(port))
    return ports.get(str(number), number)


class Watching:
    """Runs the probes of one container from its start to its end."""

    def __init__(
        self,
        container: Object,
        where: Where,
        *,
        prober: protocols.Prober,
        sandbox: runtime.Sandbox,
        on_result: Callable[[Word, bool, str], None],
    ) -> None:
        self._container = container
        self._where = where
        self._prober = prober
        self._sandbox = sandbox
        self._on_result = on_result
        self._watched: dict[str, protocols.ProbeSpec | runtime.ExecProbe] = {}
        self._over = False

    async def start(self, word: Word) -> None:
        """Begins that probe. Raises ProbeProblem."""
        spec = plan(self._container, word, self._where)
        self._watched[spec.id] = spec

        def on_result(ok: bool, message: str) -> None:
            if not self._over and self._watched.get(spec.id) is spec:
                self._on_result(word, ok, message)

        if isinstance(spec, runtime.ExecProbe):
            await self._sandbox.probe(spec, on_result)
        else:
            self._prober.watch(spec, on_result)

    async def stop(self, word: Word) -> None:
        """Ends that probe."""
        await self._forget(probe_id(self._where.pod_uid, self._container["name"], word))

    async def _forget(self, identity: str) -> None:
        spec = self._watched.pop(identity, None)
        if isinstance(spec, runtime.ExecProbe):
            await self._sandbox.probe_stop(identity)
        elif spec is not None:
            self._prober.forget(identity)

    async def close(self) -> None:
        """Ends all; no answer is told any more."""
        self._over = True
        for identity in list(self._watched):
            await self._forget(identity)
