"""Chains of other tools in which a packet may end: those at the forward and input hooks that drop or reject what no
rule of theirs accepted, by their policy (Docker, ufw) or by a rule without a condition, also in a chain that is always
gone to (firewalld, iptables-services).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fairlead.dataplane import netlink

_GET_CHAIN, _GET_RULE = 4, 7
INPUT, FORWARD, DROP = 1, 2, 0
INET, IPV4, IPV6 = 1, 2, 10
_NEUTRAL = frozenset({"counter", "log"})
_ENDING_TARGETS = frozenset({"DROP", "REJECT"})  # iptables' own, through nf_tables
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain of somebody's."""

    hook: int
    family: int
    table: str
    name: str

    def __str__(self) -> str:
        family = {INET: "inet", IPV4: "ip", IPV6: "ip6"}[self.family]
        return f"{family} {self.table} {self.name}"


def find(link: netlink.Netlink, ours: str, *, every: bool = False) -> Iterator[Chain]:
    """The chains in which packets may end; with `every` all at those hooks. Raises NetlinkError."""
    for family in (INET, IPV4, IPV6):
        for reply in list(link.dump(netlink.SUBSYS_NFTABLES << 8 | _GET_CHAIN, b"", family=family)):
            found = dict(netlink.attributes(reply))
            if 4 not in found or text(found[1]) == ours:
                continue
            hook = dict(netlink.attributes(found[4]))
            at = struct.unpack(">I", hook[1])[0]
            policy = struct.unpack(">I", found[5])[0] if 5 in found else 1
            if at not in (INPUT, FORWARD) or text(found.get(7)) != "filter":
                continue
            chain = Chain(at, family, text(found[1]), text(found[3]))
            if every or policy == DROP or _ends(link, chain, chain.name, _DEEPEST):
                yield chain


def rules(link: netlink.Netlink, chain: Chain, name: str = "") -> Iterator[dict[int, memoryview]]:
    """The rules of the chain, or of another one of its table, as attributes."""
    wanted = name or chain.name
    body = netlink.text(1, chain.table) + netlink.text(2, wanted)
    for reply in list(link.dump(netlink.SUBSYS_NFTABLES << 8 | _GET_RULE, body, family=chain.family)):
        found = dict(netlink.attributes(reply))
        if text(found.get(1)) == chain.table and text(found.get(2)) == wanted:
            yield found


def _ends(link: netlink.Netlink, chain: Chain, name: str, deep: int) -> bool:
    for rule in rules(link, chain, name):
        words = [word for word in _expressions(rule) if word[0] not in _NEUTRAL]
        if len(words) != 1:
            continue
        kind, code, target = _verdict(*words[0])
        if kind == "end":
            return True
        if kind == "go" and deep and _ends(link, chain, target, deep - 1):
            return True
        if kind == "accept" or (kind == "go" and code == _GOTO):
            return False  # nothing comes further
    return False


_JUMP, _GOTO = -3, -4


def _expressions(rule: dict[int, memoryview]) -> list[tuple[str, dict[int, memoryview]]]:
    found = []
    for _, one in netlink.attributes(rule.get(4, memoryview(b""))):
        parts = dict(netlink.attributes(one))
        found.append((text(parts.get(1)), dict(netlink.attributes(parts.get(2, memoryview(b""))))))
    return found


def _verdict(name: str, data: dict[int, memoryview]) -> tuple[str, int, str]:
    """What becomes of a packet at a rule that is only this expression: end, accept, go (to a chain), or nothing."""
    if name == "reject" or (name == "target" and text(data.get(1)) in _ENDING_TARGETS):
        return "end", 0, ""
    if name != "immediate" or 2 not in data or struct.unpack(">I", data[1])[0] != 0:
        return "", 0, ""
    verdict = dict(netlink.attributes(dict(netlink.attributes(data[2])).get(2, memoryview(b""))))
    code = struct.unpack(">i", verdict[1])[0] if 1 in verdict else 1
    if code in (_JUMP, _GOTO):
        return "go", code, text(verdict.get(2))
    return {DROP: "end", 1: "accept"}.get(code, ""), code, ""


def text(value: memoryview | None) -> str:
    """A NUL-terminated string."""
    return bytes(value or b"").split(b"\0", 1)[0].decode(errors="replace")
