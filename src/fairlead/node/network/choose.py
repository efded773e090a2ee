"""Which network mode a cluster gets: the best that works, and the reasons, in words for `fairlead status`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fairlead.base import privilege
from fairlead.node import protocols
from fairlead.node.network import kernel, loopback


@dataclass(frozen=True, slots=True)
class Choice:
    """A network that has started, and why it is this one."""

    network: protocols.Network
    reason: str


async def choose(
    cluster: str,
    *,
    forced: str = "",
    wanted_cidr: str = "",
    second_wanted_cidr: str = "",
    families: Sequence[str] = kernel.BOTH,
    all_required: bool = False,
    avoid: tuple[str, ...] = (),
    modes: tuple[str, ...] = ("kernel", "loopback"),
) -> Choice:
    """Starts the best mode that works, or the forced one. Raises NetworkUnavailable with every reason. `rootless` works
    only in a process that has gone into its namespaces, so it is never tried unless it is named. `families` are in
    order, and `all_required` says that a second one is no bonus."""
    of_loopback = wanted_cidr.startswith("127.")

    def with_pod_network(mode: Literal["kernel", "rootless"]) -> protocols.Network:
        return kernel.KernelNetwork(
            cluster,
            wanted="" if of_loopback else wanted_cidr,
            second_wanted=second_wanted_cidr,
            avoid=avoid,
            families=families,
            all_required=all_required,
            mode=mode,
        )

    makers: dict[str, Callable[[], protocols.Network]] = {
        "kernel": lambda: with_pod_network("kernel"),
        "rootless": lambda: with_pod_network("rootless"),
        "loopback": lambda: loopback.LoopbackNetwork(
            cluster,
            wanted=wanted_cidr if of_loopback else "",
            families=families if all_required or families[0] != loopback.FAMILY else (loopback.FAMILY,),
        ),
    }
    if forced and forced not in makers:
        raise protocols.NetworkUnavailable(f"network mode {forced!r} is not here: choose {' or '.join(makers)}")
    if forced == "rootless" and not privilege.in_own_namespace():
        raise protocols.NetworkUnavailable("rootless: this process has not gone into namespaces of its own")
    refused: list[str] = []
    for mode in [forced] if forced else modes:
        network = makers[mode]()
        try:
            await network.start()
        except protocols.NetworkUnavailable as error:
            refused.append(f"{mode}: {error}")
            continue
        why = "asked for with --network" if forced else ("the best mode that works here")
        return Choice(network, f"{why}; {'; '.join(refused)}" if refused else why)
    raise protocols.NetworkUnavailable("; ".join(refused))
