"""What the node agent needs of others; `cluster.py` passes the real ones, tests pass fakes from `fairlead.testing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """One httpGet, tcp or grpc probe of one container (docs/protocol.md, Probe)."""

    id: str
    kind: Literal["http", "tcp", "grpc"]
    address: str
    port: int
    path: str = "/"
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()
    service: str = ""
    initial_delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    fast_start: bool = True


class Prober(Protocol):
    """Runs probes from the engine and reports their transitions."""

    def watch(self, spec: ProbeSpec, on_result: Callable[[bool, str], None]) -> None:
        """Starts the probe. `on_result(ok, message)` comes with the first result that counts, then on transitions."""

    def forget(self, probe_id: str) -> None:
        """Stops the probe; unknown ids are ignored."""


class DrainGate(Protocol):
    """Takes an address out of every plane before its pod may be told to stop."""

    async def drain(self, address: str, *, deadline_seconds: float) -> DrainOutcome:
        """Returns when every plane has taken the address out and nothing is in flight to it, or at the deadline. A
        plane that has not acked in 2 s no longer blocks. The address stays out until `release`."""

    def release(self, address: str) -> None:
        """The pod is gone; the address may be used again."""


@dataclass(frozen=True, slots=True)
class DrainOutcome:
    """How a drain ended. `left`: connections open at the deadline; `silent`: planes that never acked."""

    left: int = 0
    silent: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PodAddress:
    """Where a pod is reached, and how its processes are put there."""

    ip: str
    own_network: bool  # a network namespace of its own (kernel, rootless) or the host's (loopback)
    second: str = ""  # its address of the other family, in a cluster of both


OUTSIDE = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """Route netlink messages that are sent in a pod's network namespace or in ours, of which the last is acknowledged.
    Inside, ours is open as the descriptor OUTSIDE."""

    inside: bool
    messages: bytes


class Network(Protocol):
    """One network mode of a local cluster (DESIGN §5)."""

    mode: Literal["kernel", "rootless", "loopback"]

    @property
    def cidr(self) -> str:
        """The pods' range of the first address family, known after start."""

    @property
    def gateway(self) -> str:
        """The node's address as pods reach it, of the first family, known after start."""

    @property
    def second_cidr(self) -> str:
        """The pods' range of the second address family; "" where they have one only."""

    @property
    def second_gateway(self) -> str:
        """The node's address of the second family, or ""."""

    async def start(self) -> None:
        """Makes links, addresses, routes and sysctls. Raises NetworkUnavailable with the reason."""

    async def lead(self, services: str, second_services: str = "") -> None:
        """Lets the node's own processes send to these ranges of Services, also where it has no default route."""

    def allocate(self, pod_uid: str, *, wanted: str = "") -> PodAddress:
        """An address for that pod; the one it has if it has one; `wanted` if it is free (adoption)."""

    def wiring(self, pod_uid: str) -> Sequence[Batch]:
        """What connects a new network namespace to the pod's address; whoever makes the namespace may send it."""

    async def attach(self, pod_uid: str, pid: int, *, connected: bool = False) -> None:
        """Connects the network namespace of `pid` to the pod's address, unless its `wiring` has `connected` it. Nothing
        to do in loopback mode."""

    async def detach(self, pod_uid: str) -> None:
        """Takes the pod's link away and frees its address."""

    async def close(self) -> None:
        """Removes all that `start` and `attach` made."""

    async def release(self) -> None:
        """Lets go without removing anything: pods that stay keep their network."""


class NetworkUnavailable(Exception):
    """This network mode cannot work here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the host that leads to a pod. `address` is "", all of the host's, unless the manifest names one."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    to_address: str
    to_port: int


class HostPorts(Protocol):
    """Opens ports of the host for pods (`hostPort`)."""

    async def open(self, uid: str, pod: str, ports: Sequence[HostPort]) -> str:
        """Opens all of them for that pod (`pod` is namespace/name). Returns why not, naming who has the port, or ""."""

    async def close(self, uid: str) -> None:
        """Closes what that pod has; a pod without ports is ignored."""


class ServiceSource(Protocol):
    """The Services whose variables a new container gets."""

    async def services(self, namespace: str) -> Sequence[dict[str, Any]]:
        """The Services of that namespace, as objects."""


Work = Callable[[], Awaitable[Any]]
