"""Which plane carries a Backend's own addresses: the kernel where its policy is one that the kernel can do."""

from __future__ import annotations

from typing import Literal

from fairlead.routing import table

KERNEL_ALGORITHMS = frozenset({"", "round-robin", "rr", "random", "ip-hash", "sh"})
DATAGRAMS = "datagrams"  # how the ids of Listeners begin to which the kernel leads one Backend's datagrams
Carrier = Literal["kernel", "engine-l4", "engine-l7"]


def carrier(backend: table.Backend) -> Carrier:
    """Who carries connections to the Backend's virtual addresses where both planes are there."""
    if backend.protocol not in ("tcp", "udp"):
        return "engine-l7"
    return "engine-l4" if reason_against_kernel(backend) else "kernel"


def leads_straight(backend: table.Backend) -> bool:
    """Whether a client on this machine may be led to an endpoint when it connects, without any translation: where the
    endpoint is anybody's in turn or at random."""
    return carrier(backend) == "kernel" and backend.affinity is None and backend.algorithm not in ("ip-hash", "sh")


def reason_against_kernel(backend: table.Backend) -> str:
    """What of the Backend's policy a kernel rule cannot do; "" when it can do all."""
    if backend.algorithm not in KERNEL_ALGORITHMS:
        return f"algorithm {backend.algorithm}"
    if backend.affinity is not None and backend.affinity.kind != "client":
        return f"affinity by {backend.affinity.kind}"
    for name in ("health", "outlier", "limits", "tls"):
        if getattr(backend, name) is not None:
            return name
    if backend.load_bound:
        return "load bound"
    if backend.hold:
        return "scale to zero"
    return "slow start" if backend.slow_start_seconds else ""


def is_inner(listener: table.Listener) -> bool:
    """Whether a Listener is there for the cluster's own pods: a Service's own address, DNS, what the kernel leads on.
    (Who else reaches it, as everybody on this machine does in loopback mode, cannot be told from a pod.) All others are
    doors to the outside."""
    if listener.protocol == "dns" or listener.transparent or listener.id.startswith(f"{DATAGRAMS}/"):
        return True
    kind, *words = listener.id.split("/")
    return kind == "service" and listener.protocol != "health" and words[3:4] not in (["node"], ["load-balancer"])
