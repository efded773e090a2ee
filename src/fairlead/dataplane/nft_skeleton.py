"""The part of the table that never changes, in nft's own language: maps, hooks, and the way from a hook to a Service.

One lookup sends a new connection's first packet to its Service's chain; packets of connections that are known pay
nothing (nat hooks see only the first). The table's name and the networks are the only variables; both are checked.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable

from fairlead.dataplane import nft_rules

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?")
VERSION = "3"  # of the rules that nft_encode adds
AFFINITY_CLIENTS = 262144

_FAMILY = """
  map services{f} {{ type {addr} . inet_proto . inet_service : verdict; }}
  map nodeports{f} {{ type inet_proto . inet_service : verdict; }}
{endpoints}  map affinity{f} {{ type mark . {addr} : {addr} . inet_service; flags dynamic,timeout; size {clients}; }}
  map affine{f} {{ type {addr} . inet_proto . inet_service : verdict; }}
  map affineports{f} {{ type inet_proto . inet_service : verdict; }}
  set masquerade{f} {{ type {addr} . inet_proto . inet_service; }}
  set masqueradeports{f} {{ type inet_proto . inet_service; }}
  set hairpin{f} {{ type {addr} . {addr}; }}
  set addresses{f} {{ type {addr}; }}
  chain dispatch{f} {{
    {ip} daddr . meta l4proto . th dport vmap @services{f}
    {ip} daddr != {loopback} fib daddr type local meta l4proto . th dport vmap @nodeports{f}
    {ip} daddr @addresses{f} goto refuse
{unallocated}  }}
  chain remember{f} {{ }}
  chain translated{f} {{
    fib saddr type local masquerade
{strangers}  }}
  chain outside{f} {{
{outside}  }}
  chain forward{f} {{
{forward}  }}
"""

_HOOKS = """
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmpx port-unreachable
  }
  chain prerouting {
    type nat hook prerouting priority -105; policy accept;
    meta nfproto vmap { ipv4 : jump dispatch4, ipv6 : jump dispatch6 }
  }
  chain output {
    type nat hook output priority -105; policy accept;
    meta nfproto vmap { ipv4 : jump dispatch4, ipv6 : jump dispatch6 }
  }
  chain postrouting {
    type nat hook postrouting priority 95; policy accept;
    ct status dnat meta nfproto vmap { ipv4 : jump remember4, ipv6 : jump remember6 }
    ct status dnat meta nfproto vmap { ipv4 : jump translated4, ipv6 : jump translated6 }
    meta nfproto vmap { ipv4 : jump outside4, ipv6 : jump outside6 }
  }
  chain input {
    type nat hook input priority 95; policy accept;
    ct status dnat meta nfproto vmap { ipv4 : jump remember4, ipv6 : jump remember6 }
  }
  chain forward {
    type filter hook forward priority -5; policy accept;
    ct state established,related accept
    meta nfproto vmap { ipv4 : jump forward4, ipv6 : jump forward6 }
  }
"""


def check_name(name: str) -> str:
    """The table's name. Raises ValueError for what could be anything but a name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for an nftables table: use a-z, 0-9 and -")
    return name


def render(name: str, *, pods: Iterable[str] = (), services: Iterable[str] = ()) -> str:
    """The text for `nft -f -`; it replaces a table of that name in one transaction."""
    networks = [ipaddress.ip_network(one) for one in pods]
    ranges = [ipaddress.ip_network(one) for one in services]
    families = "".join(_family(version, networks, ranges) for version in (4, 6))
    body = families.replace("  chain dispatch4", _REFUSE_FIRST, 1)
    table, mark = check_name(name), fingerprint(name, pods=pods, services=services)
    head = f'table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n  comment "fairlead {mark}"\n'
    return f"{head}{body}{_HOOKS_REST}}}\n"


def count_rules(text: str) -> int:
    """How many rules that text makes."""
    return sum(line.startswith("    ") and not line.strip().startswith("type ") for line in text.splitlines())


def fingerprint(name: str, *, pods: Iterable[str] = (), services: Iterable[str] = ()) -> str:
    """Says which unchanging part a table has, so that the next life of ours knows whether it may keep it."""
    text = "|".join((VERSION, name, *pods, "", *services, _FAMILY, _HOOKS))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_REFUSE_FIRST = _HOOKS[: _HOOKS.index("  chain prerouting")].lstrip("\n") + "  chain dispatch4"
_HOOKS_REST = _HOOKS[_HOOKS.index("  chain prerouting") :]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _family(version: int, pods: list[Network], services: list[Network]) -> str:
    ip = "ip" if version == 4 else "ip6"
    own = [one for one in pods if one.version == version]
    every = ", ".join(str(one) for one in own)
    outside = f"    {ip} saddr {{ {every} }} {ip} daddr != {{ {every} }} masquerade\n" if own else ""
    forward = f"    {ip} saddr {{ {every} }} accept\n    {ip} daddr {{ {every} }} accept\n" if own else ""
    strangers = (
        f"    ct original {ip} daddr @addresses{version} {ip} saddr != {{ {every} }} masquerade\n" if own else ""
    )
    unallocated = "".join(f"    {ip} daddr {one} drop\n" for one in services if one.version == version)
    return _FAMILY.format(
        f=version,
        ip=ip,
        addr=f"ipv{version}_addr",
        loopback="127.0.0.0/8" if version == 4 else "::1",
        clients=AFFINITY_CLIENTS,
        outside=outside,
        forward=forward,
        unallocated=unallocated,
        strangers=strangers,
        endpoints="".join(
            f"  map {nft_rules.endpoints_map(version, shard * nft_rules.SLOTS)} "
            f"{{ typeof numgen inc mod 2 : {ip} daddr . tcp dport; }}\n"
            for shard in range(nft_rules.SHARDS)
        ),
    )
