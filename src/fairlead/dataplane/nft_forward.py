"""Other tools' chains that drop by policy (Docker's, ufw's): rules of ours that let the pods' packets pass.

An accept in our own table does not outlive a drop in another. So each base chain at the forward hook whose policy is
drop gets rules for the pods' networks at its head, and one at the input hook a rule from them to the gateway, where
DNS, the API and the engine answer. They are marked by a comment that names our table and go with it. No rule that is
not ours is touched. A chain that drops by its last rule instead of its policy (firewalld) is not seen here.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fairlead.dataplane import netlink, nft_encode

_GET_CHAIN, _GET_RULE = 4, 7
_INPUT, _FORWARD, _DROP = 1, 2, 0
_INET, _IPV4, _IPV6 = 1, 2, 10


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain of somebody's that drops by policy."""

    hook: int
    family: int
    table: str
    name: str


def open_way(link: netlink.Netlink, *, ours: str, pods: Iterable[str], gateway: str = "") -> int:
    """Adds the rules where they are missing; returns to how many chains. Raises netlink.NetlinkError."""
    networks = [ipaddress.ip_network(one) for one in pods]
    opened = 0
    for chain in list(_dropping(link, ours)):
        rules = [rule for network in networks for rule in _rules(chain, network, gateway)]
        if not rules or any(True for _ in _marked(link, chain, ours)):
            continue
        mark = netlink.attribute(7, _comment(ours))
        place = netlink.text(1, chain.table) + netlink.text(2, chain.name)
        head = netlink.NLM_F_CREATE  # without NLM_F_APPEND: at the head
        messages = [(nft_encode.NEW_RULE, head, place + netlink.nested(4, *rule) + mark) for rule in rules]
        link.commit(messages, family=chain.family)
        opened += 1
    return opened


def close_way(link: netlink.Netlink, *, ours: str) -> None:
    """Removes every rule that `open_way` added. Raises netlink.NetlinkError."""
    for chain in list(_dropping(link, ours, any_policy=True)):
        place = netlink.text(1, chain.table) + netlink.text(2, chain.name)
        handles = [netlink.attribute(3, handle) for handle in _marked(link, chain, ours)]
        link.commit([(nft_encode.DELETE_RULE, 0, place + handle) for handle in handles], family=chain.family)


def _dropping(link: netlink.Netlink, ours: str, *, any_policy: bool = False) -> Iterator[Chain]:
    for family in (_INET, _IPV4, _IPV6):
        for reply in link.dump(netlink.SUBSYS_NFTABLES << 8 | _GET_CHAIN, b"", family=family):
            found = dict(netlink.attributes(reply))
            if 4 not in found or _text(found[1]) == ours:
                continue
            hook = dict(netlink.attributes(found[4]))
            at = struct.unpack(">I", hook[1])[0]
            policy = struct.unpack(">I", found[5])[0] if 5 in found else 1
            stops = at in (_INPUT, _FORWARD) and _text(found.get(7)) == "filter"
            if stops and (any_policy or policy == _DROP):
                yield Chain(at, family, _text(found[1]), _text(found[3]))


def _marked(link: netlink.Netlink, chain: Chain, ours: str) -> Iterator[bytes]:
    """Handles of our rules in the chain."""
    body = netlink.text(1, chain.table) + netlink.text(2, chain.name)
    for reply in link.dump(netlink.SUBSYS_NFTABLES << 8 | _GET_RULE, body, family=chain.family):
        found = dict(netlink.attributes(reply))
        same = _text(found.get(1)) == chain.table and _text(found.get(2)) == chain.name
        if same and bytes(found.get(7, b"")) == _comment(ours):
            yield bytes(found[3])


def _comment(ours: str) -> bytes:
    """nft's own form of a comment: type 0, length, text."""
    text = ours.encode() + b"\0"
    return bytes([0, len(text)]) + text


def _rules(
    chain: Chain, network: ipaddress.IPv4Network | ipaddress.IPv6Network, gateway: str
) -> list[tuple[bytes, ...]]:
    own = {_IPV4: 4, _IPV6: 6}.get(chain.family, network.version)
    if own != network.version:
        return []
    guard = nft_encode.family_is(network.version) if chain.family == _INET else ()
    coming, going = (nft_encode.from_or_to(network, source=source) for source in (True, False))
    if chain.hook == _FORWARD:
        return [(*guard, *one, nft_encode.ACCEPT) for one in (coming, going)]
    if not gateway or (":" in gateway) != (network.version == 6):
        return []
    here = nft_encode.from_or_to(ipaddress.ip_network(gateway), source=False)
    return [(*guard, *coming, *here, nft_encode.ACCEPT)]


def _text(value: memoryview | None) -> str:
    return bytes(value or b"").split(b"\0", 1)[0].decode(errors="replace")
