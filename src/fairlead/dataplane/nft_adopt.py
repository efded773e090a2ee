"""What an earlier life of ours left in the kernel: read back, so that the next one changes it in place.

Traffic that the old table carries is never without rules: what is still wanted stays, what is not goes in the same
transaction that brings the new. What clients are remembered by affinity stays as well.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from fairlead.dataplane import netlink, nft_encode, nft_rules

MAPS = tuple(
    f"{name}{family}"
    for family in (4, 6)
    for name in (
        "services", "nodeports", "affine", "affineports", "masquerade", "masqueradeports", "hairpin",
        "addresses",
    )
) + tuple(
    nft_rules.endpoints_map(family, shard * nft_rules.SLOTS) for family in (4, 6) for shard in range(nft_rules.SHARDS)
)  # fmt: skip
_GET_TABLE, _GET_CHAIN = 1, 4
_OURS = ("b", "v", "a")


@dataclass
class Left:
    """The chains of Backends, the elements as bytes, and the Backends' numbers by the address asked for."""

    chains: list[str] = field(default_factory=list)
    elements: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    numbers: dict[nft_rules.Element, int] = field(default_factory=dict)


def mark_of(link: netlink.Netlink, table: str) -> str:
    """The comment of the table; "" when there is no such table or it has none."""
    try:
        replies = list(link.dump(_kind(_GET_TABLE), b"", family=nft_encode.NFPROTO_INET))
    except netlink.NetlinkError:
        return ""
    for reply in replies:
        found = dict(netlink.attributes(reply))
        if _string(found.get(1)) == table and 6 in found:
            return _string(found[6][2:])  # NFTA_TABLE_USERDATA: type, length, text
    return ""


def read(link: netlink.Netlink, table: str) -> Left:
    """All that Backends have in the table. Raises netlink.NetlinkError."""
    left = Left()
    for reply in link.dump(_kind(_GET_CHAIN), b"", family=nft_encode.NFPROTO_INET):
        found = dict(netlink.attributes(reply))
        name = _string(found.get(3))
        if _string(found.get(1)) == table and name[:1] in _OURS and name[1:2].isdigit():
            left.chains.append(name)
    for name in MAPS:
        left.elements[name] = dict(_elements(link, table, name))
        if name.startswith(("services", "nodeports")):
            left.numbers |= dict(_numbers(name, left.elements[name]))
    return left


def settle(left: Left, change: nft_rules.Transaction) -> dict[str, list[bytes]]:
    """Makes the first transaction of a life one that changes what is left; returns what is to be deleted before it."""
    stale = {name: dict(elements) for name, elements in left.elements.items()}
    for element, data in list(change.added.items()):
        name, key = element
        encoded = nft_encode.key_of(name, key)
        there = stale[name].pop(encoded, None)
        if there is None:
            continue
        if there == nft_encode.data_of(name, data):
            del change.added[element]
        else:
            change.deleted.append(element)
    wanted = set(change.new_chains)
    change.new_chains = [chain for chain in change.new_chains if chain not in left.chains]
    change.gone_chains += [chain for chain in left.chains if chain not in wanted]
    return {name: list(elements) for name, elements in stale.items()}


def _kind(number: int) -> int:
    return netlink.SUBSYS_NFTABLES << 8 | number


def _string(value: memoryview | None) -> str:
    return bytes(value or b"").split(b"\0", 1)[0].decode(errors="replace")


def _elements(link: netlink.Netlink, table: str, name: str) -> Iterator[tuple[bytes, bytes]]:
    body = netlink.text(1, table) + netlink.text(2, name)
    for reply in link.dump(_kind(nft_encode.GET_ELEMENT), body, family=nft_encode.NFPROTO_INET):
        for kind, elements in netlink.attributes(reply):
            for _, one in netlink.attributes(elements) if kind == 3 else ():
                found = dict(netlink.attributes(one))
                key = bytes(dict(netlink.attributes(found[1]))[1])
                yield key, _data(found.get(2))


def _data(value: memoryview | None) -> bytes:
    """A value, or the chain of a verdict."""
    if value is None:
        return b""
    found = dict(netlink.attributes(value))
    if 1 in found:
        return bytes(found[1])
    return _string(dict(netlink.attributes(found[2])).get(2)).encode()


def _numbers(name: str, elements: dict[bytes, bytes]) -> Iterator[tuple[nft_rules.Element, int]]:
    size = 0 if name.startswith("node") else 4 if name.endswith("4") else 16
    for key, chain in elements.items():
        digits = chain.decode()[1:].partition("-")[0]
        protocol = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}.get(key[size])
        if not digits.isdigit() or protocol is None:
            continue
        port = struct.unpack(">H", key[size + 4 : size + 6])[0]
        address = socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, key[:size]) if size else ""
        yield (name, (address, protocol, port) if size else (protocol, port)), int(digits)
