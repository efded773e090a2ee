"""Typed transactions as nf_tables messages (linux/netfilter/nf_tables.h). Pure bytes; nothing is sent here.

Registers 8 to 23 are four bytes each. A Spread uses 8 (Backend) and 9.. (client) as the key of affinity, 13 as the
slot and 14.. as address and port of the endpoint.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping

from fairlead.dataplane import netlink, nft_rules

Message = tuple[int, int, bytes]
NFPROTO_INET = 1
NEW_CHAIN, DELETE_CHAIN = 3, 5
NEW_RULE, DELETE_RULE = 6, 8
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
DELETE_TABLE = 2
_CREATE = netlink.NLM_F_CREATE
_APPEND = netlink.NLM_F_CREATE | 0x800
_CHUNK_BYTES = 60_000  # a nested attribute's length has 16 bits
_JUMP, _GOTO = -3, -4
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_KEY, _CLIENT, _PICK, _ADDRESS = 8, 9, 13, 14
_TURN, _RANDOM = 0, 1


def messages(table: str, change: nft_rules.Transaction) -> list[Message]:
    """The transaction as messages of one batch."""
    head = netlink.text(1, table)
    found: list[Message] = [(NEW_CHAIN, _CREATE, head + netlink.text(3, chain)) for chain in change.new_chains]
    found += _elements(head, DELETE_ELEMENT, 0, ((element, None) for element in change.deleted))
    values = ((element, data) for element, data in change.added.items() if len(data) != 1)
    verdicts = ((element, data) for element, data in change.added.items() if len(data) == 1)
    found += _elements(head, NEW_ELEMENT, _CREATE, values)
    fresh = set(change.new_chains)
    for chain, rules in change.rewritten.items():
        place = head + netlink.text(2, chain)
        if chain not in fresh:
            found.append((DELETE_RULE, 0, place))
        for rule in rules:
            for expressions in rule_expressions(rule):
                found.append((NEW_RULE, _APPEND, place + netlink.nested(4, *expressions)))
    found += _elements(head, NEW_ELEMENT, _CREATE, verdicts)
    for chain in change.gone_chains:
        found.append((DELETE_RULE, 0, head + netlink.text(2, chain)))
    for chain in change.gone_chains:
        found.append((DELETE_CHAIN, 0, head + netlink.text(3, chain)))
    return found


def delete_table(table: str) -> Message:
    return (DELETE_TABLE, 0, netlink.text(1, table))


# -- elements


def _elements(
    head: bytes, kind: int, flags: int, elements: Iterable[tuple[nft_rules.Element, nft_rules.Data | None]]
) -> Iterator[Message]:
    by_map: dict[str, list[bytes]] = {}
    for (name, key), data in elements:
        by_map.setdefault(name, []).append(element(name, key, data))
    for name, encoded in by_map.items():
        yield from _chunked(head + netlink.text(2, name), kind, flags, encoded)


def _chunked(place: bytes, kind: int, flags: int, encoded: Iterable[bytes]) -> Iterator[Message]:
    chunk: list[bytes] = []
    size = 0
    for one in encoded:
        if size + len(one) > _CHUNK_BYTES:
            yield (kind, flags, place + netlink.nested(3, *chunk))
            chunk, size = [], 0
        chunk.append(one)
        size += len(one)
    if chunk:
        yield (kind, flags, place + netlink.nested(3, *chunk))


def element(name: str, key: tuple[str | int, ...], data: nft_rules.Data | None) -> bytes:
    """One element; without data for a set or a deletion."""
    packed_key = key_of(name, key)
    if not data:
        return _set_head(len(packed_key)) + packed_key
    encoded = data_of(name, data)
    if len(data) > 1:
        key_head, data_head = _map_heads(len(packed_key), len(encoded))
        return key_head + packed_key + data_head + encoded
    way = _JUMP if name.startswith("affine") else _GOTO
    verdict = netlink.nested(2, netlink.be32(1, way), netlink.attribute(2, encoded + b"\0"))
    return netlink.nested(1, netlink.nested(1, netlink.attribute(1, packed_key)), netlink.nested(2, verdict))


@functools.cache
def _set_head(key_size: int) -> bytes:
    """The three headers before the key of an element without data; sizes are multiples of four."""
    whole = netlink.nested(1, netlink.nested(1, netlink.attribute(1, bytes(key_size))))
    return whole[: len(whole) - key_size]


@functools.cache
def _map_heads(key_size: int, data_size: int) -> tuple[bytes, bytes]:
    """The headers before the key and before the value of a map's element."""
    key = netlink.nested(1, netlink.attribute(1, bytes(key_size)))
    value = netlink.nested(2, netlink.attribute(1, bytes(data_size)))
    whole = netlink.nested(1, key, value)
    return whole[: 4 + len(key) - key_size], value[: len(value) - data_size]


def data_of(name: str, data: nft_rules.Data) -> bytes:
    """An element's value: an endpoint, the name of a chain, or (in a set) nothing."""
    if not data:
        return b""
    return str(data[0]).encode() if len(data) == 1 else packed(str(data[0])) + port_key(int(data[1]))


def raw_deletions(table: str, stale: Mapping[str, Iterable[bytes]]) -> list[Message]:
    """Elements to delete from maps, by keys as they were read."""
    found: list[Message] = []
    for name, keys in stale.items():
        place = netlink.text(1, table) + netlink.text(2, name)
        encoded = (netlink.nested(1, netlink.nested(1, netlink.attribute(1, key))) for key in keys)
        found += _chunked(place, DELETE_ELEMENT, 0, encoded)
    return found


def key_of(name: str, key: tuple[str | int, ...]) -> bytes:
    """An element's key in its map."""
    match name.partition("_")[0].rstrip("46"):
        case "endpoints":
            return struct.pack("=I", key[0])
        case "services" | "masquerade" | "affine":
            return packed(str(key[0])) + _protocol(key[1]) + port_key(int(key[2]))
        case "nodeports" | "masqueradeports" | "affineports":
            return _protocol(key[0]) + port_key(int(key[1]))
        case "affinity":
            return struct.pack("=I", key[0]) + packed(str(key[1]))
        case "hairpin":
            return packed(str(key[0])) * 2
        case "addresses":
            return packed(str(key[0]))
    raise ValueError(f"no map {name}")


def packed(address: str) -> bytes:
    """An address in network byte order."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def port_key(port: int) -> bytes:
    """A port as part of a concatenation."""
    return struct.pack(">Hxx", port)


def _protocol(protocol: str | int) -> bytes:
    return struct.pack("=Bxxx", _PROTOCOLS[str(protocol)])


# -- rules


def rule_expressions(rule: nft_rules.Rule) -> list[tuple[bytes, ...]]:
    """The rules (tuples of expressions) that one typed rule is."""
    match rule:
        case nft_rules.Spread():
            return _spread(rule)
        case nft_rules.Refuse():
            reset = (*_protocol_is("tcp"), _expression("reject", netlink.be32(1, 1), netlink.attribute(2, b"\0")))
            unreachable = _expression("reject", netlink.be32(1, 2), netlink.attribute(2, b"\1"))  # ICMPX: port
            return [reset, (unreachable,)]
        case nft_rules.Drop():
            return [(_verdict(0),)]
        case nft_rules.Redirect():
            address = _immediate(_ADDRESS, packed(rule.address))
            # Two bytes and no padding: `nft -j` aborts at a port of four.
            port = _immediate(_port_register(rule.family), struct.pack(">H", rule.port))
            return [(address, port, _dnat(rule.family))]
        case nft_rules.Allow():
            return [*_goto_from(rule.family, rule.networks, rule.chain), (_verdict(0),)]
        case nft_rules.From():
            return _goto_from(rule.family, rule.networks, rule.chain)
        case nft_rules.FromHere():
            here = (*_from_local(), _verdict(_GOTO, rule.chain))
            return [here, *_goto_from(rule.family, rule.networks, rule.chain)]
        case nft_rules.Remember():
            return [_remember(rule)]
        case nft_rules.Goto():
            return [(_verdict(_GOTO, rule.chain),)]


def _spread(rule: nft_rules.Spread) -> list[tuple[bytes, ...]]:
    family = rule.family
    pick = (*_pick(rule), _lookup(nft_rules.endpoints_map(family, rule.base), _PICK, _ADDRESS), _dnat(family))
    if not rule.affinity_seconds:
        return [pick]
    base = _immediate(_KEY, struct.pack("=I", rule.base))
    known = (base, _source(family, _CLIENT), _lookup(f"affinity{family}", _KEY, _ADDRESS), _dnat(family))
    return [known, pick]


def _pick(rule: nft_rules.Spread) -> tuple[bytes, ...]:
    if rule.choice == "source":
        size = 4 if rule.family == 4 else 16
        numbers = [(1, _CLIENT), (2, _PICK), (3, size), (4, rule.count), (5, 0), (6, rule.base), (7, 0)]
        return (_source(rule.family, _CLIENT), _expression("hash", *(netlink.be32(k, v) for k, v in numbers)))
    how = _RANDOM if rule.choice == "random" else _TURN
    numbers = [(1, _PICK), (2, rule.count), (3, how), (4, rule.base)]
    return (_expression("numgen", *(netlink.be32(k, v) for k, v in numbers)),)


def _remember(rule: nft_rules.Remember) -> tuple[bytes, ...]:
    """`update @affinity { base . saddr timeout T : daddr . dport }`, on the way out, where the endpoint is known."""
    family = rule.family
    offset, size = (16, 4) if family == 4 else (24, 16)
    target = _payload(_ADDRESS, 1, offset, size)
    port = _payload(_port_register(family), 2, 2, 2)
    parts = [netlink.text(1, f"affinity{family}"), netlink.be32(3, 1), netlink.be32(4, _KEY), netlink.be32(5, _ADDRESS)]
    update = _expression("dynset", *parts, netlink.be64(6, int(rule.seconds * 1000)))
    return (_immediate(_KEY, struct.pack("=I", rule.base)), _source(family, _CLIENT), target, port, update)


def _port_register(family: int) -> int:
    return _ADDRESS + (1 if family == 4 else 4)


def _dnat(family: int) -> bytes:
    port = _port_register(family)
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    numbers = [(1, 1), (2, kind), (3, _ADDRESS), (5, port)]
    return _expression("nat", *(netlink.be32(k, v) for k, v in numbers))


def _source(family: int, register: int) -> bytes:
    offset, size = (12, 4) if family == 4 else (8, 16)
    return _payload(register, 1, offset, size)


def _payload(register: int, base: int, offset: int, size: int) -> bytes:
    numbers = ((1, register), (2, base), (3, offset), (4, size))
    return _expression("payload", *(netlink.be32(kind, value) for kind, value in numbers))


def _goto_from(family: int, networks: Iterable[str], chain: str) -> list[tuple[bytes, ...]]:
    return [
        (_source(family, _CLIENT), *_in_network(family, network), _verdict(_GOTO, chain))
        for network in networks
        if (":" in network) == (family == 6)
    ]


def _in_network(family: int, network: str) -> tuple[bytes, bytes]:
    """The register of the client, masked, is that network."""
    parsed = ipaddress.ip_network(network, strict=False)
    size = 4 if family == 4 else 16
    mask = netlink.nested(4, netlink.attribute(1, parsed.netmask.packed))
    xor = netlink.nested(5, netlink.attribute(1, bytes(size)))
    masked = _expression(
        "bitwise", netlink.be32(1, _CLIENT), netlink.be32(2, _CLIENT), netlink.be32(3, size), mask, xor
    )
    return masked, _equals(_CLIENT, parsed.network_address.packed)


def _from_local() -> tuple[bytes, bytes]:
    """The client's address is one of this node (`fib saddr type local`)."""
    fib = _expression("fib", netlink.be32(1, _CLIENT), netlink.be32(2, 3), netlink.be32(3, 1))
    return fib, _equals(_CLIENT, struct.pack("=I", 2))


def _protocol_is(protocol: str) -> tuple[bytes, bytes]:
    return _expression("meta", netlink.be32(2, 16), netlink.be32(1, _KEY)), _equals(_KEY, bytes([_PROTOCOLS[protocol]]))


def _equals(register: int, value: bytes) -> bytes:
    data = netlink.nested(3, netlink.attribute(1, value))
    return _expression("cmp", netlink.be32(1, register), netlink.be32(2, 0), data)


def _immediate(register: int, value: bytes) -> bytes:
    return _expression("immediate", netlink.be32(1, register), netlink.nested(2, netlink.attribute(1, value)))


def _verdict(code: int, chain: str = "") -> bytes:
    parts = [netlink.be32(1, code)] + ([netlink.text(2, chain)] if chain else [])
    return _expression("immediate", netlink.be32(1, 0), netlink.nested(2, netlink.nested(2, *parts)))


def _lookup(name: str, source: int, target: int = 0) -> bytes:
    parts = [netlink.text(1, name), netlink.be32(2, source)] + ([netlink.be32(3, target)] if target else [])
    return _expression("lookup", *parts)


def _expression(name: str, *parts: bytes) -> bytes:
    return netlink.nested(1, netlink.text(1, name), netlink.nested(2, *parts))


def _asked(family: int) -> tuple[bytes, bytes, bytes]:
    """What the client asked for, in registers: address, protocol, port. nft's language cannot write it."""
    after = _KEY + (1 if family == 4 else 4)
    way = netlink.attribute(3, b"\0")
    address = _expression("ct", netlink.be32(1, _KEY), netlink.be32(2, 20 if family == 4 else 22), way)
    protocol = _expression("meta", netlink.be32(2, 16), netlink.be32(1, after))
    return address, protocol, _expression("ct", netlink.be32(1, after + 1), netlink.be32(2, 12), way)


def _not_ours(family: int) -> bytes:
    """The address asked for is no clusterIP, so that its port is a node's."""
    return _expression("lookup", netlink.text(1, f"addresses{family}"), netlink.be32(2, _KEY), netlink.be32(5, 1))


def remember_rules(family: int) -> list[tuple[bytes, ...]]:
    """Leads connections to Services with affinity to the rule that remembers their endpoint."""
    address, protocol, port = _asked(family)
    after = _KEY + (1 if family == 4 else 4)
    return [
        (address, protocol, port, _verdict_of(f"affine{family}", _KEY)),
        (address, _not_ours(family), protocol, port, _verdict_of(f"affineports{family}", after)),
    ]


def translated_rules(family: int) -> list[tuple[bytes, ...]]:
    """Which clients are masqueraded: by the address or node port they asked for, and who is his own endpoint."""
    address, protocol, port = _asked(family)
    after = _KEY + (1 if family == 4 else 4)
    offset, size = (16, 4) if family == 4 else (24, 16)
    masquerade = _expression("masq")
    return [
        (address, protocol, port, _lookup(f"masquerade{family}", _KEY), masquerade),
        (address, _not_ours(family), protocol, port, _lookup(f"masqueradeports{family}", after), masquerade),
        (_source(family, _KEY), _payload(after, 1, offset, size), _lookup(f"hairpin{family}", _KEY), masquerade),
    ]


def _verdict_of(name: str, source: int) -> bytes:
    return _expression("lookup", netlink.text(1, name), netlink.be32(2, source), netlink.be32(3, 0))


def append_rules(table: str, chain: str, rules: Iterable[tuple[bytes, ...]]) -> list[Message]:
    """Adds rules given as expressions to a chain."""
    place = netlink.text(1, table) + netlink.text(2, chain)
    return [(NEW_RULE, _APPEND, place + netlink.nested(4, *expressions)) for expressions in rules]


def affinity_clients(link: netlink.Netlink, table: str, family: int) -> Iterator[tuple[int, str, nft_rules.Place, int]]:
    """(base, client, endpoint, milliseconds left) of every client that is remembered."""
    body = netlink.text(1, table) + netlink.text(2, f"affinity{family}")
    size, kind = (4, socket.AF_INET) if family == 4 else (16, socket.AF_INET6)
    for reply in link.dump(netlink.SUBSYS_NFTABLES << 8 | GET_ELEMENT, body, family=NFPROTO_INET):
        for part, elements in netlink.attributes(reply):
            for _, one in netlink.attributes(elements) if part == 3 else ():
                found = dict(netlink.attributes(one))
                key = bytes(dict(netlink.attributes(found[1]))[1])
                data = bytes(dict(netlink.attributes(found[2]))[1])
                endpoint = (socket.inet_ntop(kind, data[:size]), struct.unpack(">H", data[size : size + 2])[0])
                left = struct.unpack(">Q", found[5])[0] if 5 in found else 0
                yield struct.unpack("=I", key[:4])[0], socket.inet_ntop(kind, key[4 : 4 + size]), endpoint, left


def family_is(family: int) -> tuple[bytes, bytes]:
    """The packet is of that address family (for tables that see both)."""
    load = _expression("meta", netlink.be32(2, 15), netlink.be32(1, _KEY))
    return load, _equals(_KEY, bytes([socket.AF_INET if family == 4 else socket.AF_INET6]))


def from_or_to(network: ipaddress.IPv4Network | ipaddress.IPv6Network, *, source: bool) -> tuple[bytes, ...]:
    """The packet comes from, or goes to, that network."""
    size = 4 if network.version == 4 else 16
    offset = (12 if network.version == 4 else 8) + (0 if source else size)
    load = _payload(_CLIENT, 1, offset, size)
    return (load, *_in_network(network.version, str(network)))


ACCEPT = _verdict(1)
