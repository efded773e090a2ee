"""Whether the kernel still has what we wrote: somebody may have flushed the ruleset, or a part of ours.

The ruleset's generation tells cheaply that anybody changed anything; only then is our table read back and compared.
"""

from __future__ import annotations

import struct

from fairlead.dataplane import netlink, nft_adopt, nft_encode, nft_rules

_GET_RULE, _GET_GENERATION = 7, 16


def generation(link: netlink.Netlink) -> int:
    """Rises by one with each transaction of anybody in this network namespace."""
    reply = link.ask(netlink.SUBSYS_NFTABLES << 8 | _GET_GENERATION, b"", family=0)
    return int(struct.unpack(">I", dict(netlink.attributes(reply))[1])[0])


def difference(
    link: netlink.Netlink,
    table: str,
    *,
    mark: str,
    unchanging_rules: int,
    parts: list[nft_rules.Part],
) -> str:
    """What is missing or foreign in our table; "" when all is as we wrote it. Raises netlink.NetlinkError."""
    if nft_adopt.mark_of(link, table) != mark:
        return "the table is gone"
    left = nft_adopt.read(link, table)
    if set(left.chains) != {chain for part in parts for chain in part.chains}:
        return "chains are gone"
    wanted: dict[str, dict[bytes, bytes]] = {name: {} for name in nft_adopt.MAPS}
    for part in parts:
        for (name, key), data in part.elements.items():
            wanted[name][nft_encode.key_of(name, key)] = nft_encode.data_of(name, data)
    for name, elements in wanted.items():
        if left.elements[name] != elements:
            return f"elements of {name} differ"
    rules = [rule for part in parts for rules in part.chains.values() for rule in rules]
    expected = unchanging_rules + sum(len(nft_encode.rule_expressions(rule)) for rule in rules)
    return "" if _count(link, table) == expected else "rules are gone"


def _count(link: netlink.Netlink, table: str) -> int:
    body = netlink.text(1, table)
    replies = link.dump(netlink.SUBSYS_NFTABLES << 8 | _GET_RULE, body, family=nft_encode.NFPROTO_INET)
    name = table.encode() + b"\0"
    return sum(bytes(dict(netlink.attributes(reply)).get(1, b"")) == name for reply in replies)
