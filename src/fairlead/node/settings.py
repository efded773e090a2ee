"""What the node agent is given: who it is and the doors to the other rooms. `cluster` fills these in."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.base import clock, leisure
from fairlead.client import events, informers, protocol
from fairlead.node import cgroups, images, protocols, runtime


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Facts about the node. `folder` is STATE/pods; `environ` the variables that every process pod inherits."""

    name: str
    folder: Path
    asked: runtime.Credentials = field(default_factory=runtime.Credentials)
    environ: Mapping[str, str] = field(default_factory=dict)
    host_ip: str = ""  # default: the network's gateway
    hide: tuple[str, ...] = ()
    dns: str = ""  # the address that pods ask, "" for the host's resolver
    labels: Mapping[str, str] = field(default_factory=dict)
    drain_seconds: float = 30.0
    first_backoff_seconds: float = 10.0
    usage_period_seconds: float = 1.0  # how often CPU and memory are measured


@dataclass(slots=True)
class Doors:
    """The other rooms, as the node agent uses them. `images` may be replaced while pods run."""

    client: protocol.Client
    informers: informers.Informers
    recorder: events.Recorder
    network: protocols.Network
    processes: runtime.Runtime
    prober: protocols.Prober
    gate: protocols.DrainGate
    clock: clock.Clock
    rng: random.Random
    images: images.ImageSource
    containers: runtime.Runtime | None = None
    services: protocols.ServiceSource | None = None
    cgroups: cgroups.Cgroups | None = None
    host_ports: protocols.HostPorts | None = None
    leisure: leisure.Leisure | None = None  # what waits while pods start
    prefer_containers: bool = False  # images run in the engine even where a container names its command


def host_addresses(node: NodeSettings, network: protocols.Network) -> tuple[str, str]:
    """The node's own addresses, of the first family and the second ("" where there is none)."""
    return (node.host_ip, "") if node.host_ip else (network.gateway, network.second_gateway)
