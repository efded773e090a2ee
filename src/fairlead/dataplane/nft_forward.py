"""Other tools' chains in which packets end (Docker's, ufw's, firewalld's): rules of ours let the pods' packets pass.

An accept in our own table does not outlive a drop in another. So each base chain that drops or rejects at the forward
hook (`nft_ends`) gets rules for the pods' networks at its head, and one at the input hook a rule from them to the
gateway, where DNS, the API and the engine answer. They are marked by a comment that names our table and go with it. No
rule that is not ours is touched. A table that its owner keeps for itself is an obstacle, told with what to do. Rules of
iptables-legacy are not nftables' and are not seen.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fairlead.dataplane import netlink, nft_encode, nft_ends


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many chains got rules, and where pods' packets end still."""

    opened: int = 0
    obstacles: tuple[str, ...] = ()


def open_way(link: netlink.Netlink, *, ours: str, pods: Iterable[str], gateways: Iterable[str] = ()) -> Outcome:
    """Adds the rules where they are missing. Raises netlink.NetlinkError."""
    networks, doors = [ipaddress.ip_network(one) for one in pods], tuple(gateways)
    opened, obstacles = 0, []
    for chain in list(nft_ends.find(link, ours)):
        rules = [rule for network in networks for rule in _rules(chain, network, doors)]
        if not rules or any(True for _ in _marked(link, chain, ours)):
            continue
        mark = netlink.attribute(7, _comment(ours))
        place = netlink.text(1, chain.table) + netlink.text(2, chain.name)
        head = netlink.NLM_F_CREATE  # without NLM_F_APPEND: at the head
        messages = [(nft_encode.NEW_RULE, head, place + netlink.nested(4, *rule) + mark) for rule in rules]
        try:
            link.commit(messages, family=chain.family)
            opened += 1
        except netlink.NetlinkError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                raise
            obstacles.append(_obstacle(chain, [str(one) for one in networks]))
    return Outcome(opened, tuple(obstacles))


def _obstacle(chain: nft_ends.Chain, networks: list[str]) -> str:
    what = (
        "what pods send to each other and outside" if chain.hook == nft_ends.FORWARD else "what pods ask of this node"
    )
    cure = f"let it accept packets from and to {' and '.join(networks)}"
    if chain.table == "firewalld":
        sources = " ".join(f"--add-source={one}" for one in networks)
        cure = f"firewall-cmd --permanent --zone=trusted {sources} && firewall-cmd --reload"
    return f"{chain} may refuse {what}, and its owner keeps it for itself; {cure}"


def close_way(link: netlink.Netlink, *, ours: str) -> None:
    """Removes every rule that `open_way` added. Raises netlink.NetlinkError."""
    for chain in list(nft_ends.find(link, ours, every=True)):
        place = netlink.text(1, chain.table) + netlink.text(2, chain.name)
        handles = [netlink.attribute(3, handle) for handle in _marked(link, chain, ours)]
        link.commit([(nft_encode.DELETE_RULE, 0, place + handle) for handle in handles], family=chain.family)


def _marked(link: netlink.Netlink, chain: nft_ends.Chain, ours: str) -> Iterator[bytes]:
    """Handles of our rules in the chain."""
    for found in nft_ends.rules(link, chain):
        if bytes(found.get(7, b"")) == _comment(ours):
            yield bytes(found[3])


def _comment(ours: str) -> bytes:
    """nft's own form of a comment: type 0, length, text."""
    text = ours.encode() + b"\0"
    return bytes([0, len(text)]) + text


def _rules(
    chain: nft_ends.Chain, network: ipaddress.IPv4Network | ipaddress.IPv6Network, gateways: tuple[str, ...]
) -> list[tuple[bytes, ...]]:
    own = {nft_ends.IPV4: 4, nft_ends.IPV6: 6}.get(chain.family, network.version)
    if own != network.version:
        return []
    guard = nft_encode.family_is(network.version) if chain.family == nft_ends.INET else ()
    coming, going = (nft_encode.from_or_to(network, source=source) for source in (True, False))
    if chain.hook == nft_ends.FORWARD:
        return [(*guard, *one, nft_encode.ACCEPT) for one in (coming, going)]
    own_doors = [door for door in map(ipaddress.ip_network, gateways) if door.version == network.version]
    return [(*guard, *coming, *nft_encode.from_or_to(door, source=False), nft_encode.ACCEPT) for door in own_doors]
