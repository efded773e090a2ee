"""How the programs' maps look, byte for byte as in programs.c: what is written into them and what they are made as."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Literal

BACKENDS = 1 << 14
ENDPOINTS = 1 << 17
ENDPOINT_BYTES = 24
BACKEND_WORDS = 2  # head, turn
TCP, UDP = 6, 17
_PLACE = struct.Struct("!16sHBx")
_ENDPOINT = struct.Struct("!16sHxx4x")
_RANDOM = 1 << 63
_IPV4 = b"\0" * 10 + b"\xff\xff"  # ::ffff:0.0.0.0/96


@dataclass(frozen=True, slots=True)
class Map:
    """As BPF_MAP_CREATE wants it (linux/bpf.h)."""

    kind: Literal["hash", "array", "lru_hash"]
    key_bytes: int
    value_bytes: int
    entries: int
    shared: bool = False  # written through memory


MAPS: dict[str, Map] = {
    "namespaces": Map("hash", 8, 1, 1 << 13),
    "services": Map("hash", _PLACE.size, 4, BACKENDS),
    "backends": Map("array", 4, 8 * BACKEND_WORDS, BACKENDS, shared=True),
    "endpoints": Map("array", 4, ENDPOINT_BYTES, ENDPOINTS, shared=True),
    "flows": Map("lru_hash", 32, 32, 1 << 14),
    "sockets": Map("array", 4, 8 + 2 * _PLACE.size, 1 << 15),
}


def place(address: str, port: int, protocol: int) -> bytes:
    """The key of a Service's address."""
    return _PLACE.pack(_mapped(address), port, protocol)


def endpoint(address: str, port: int) -> bytes:
    """One endpoint of a block."""
    return _ENDPOINT.pack(_mapped(address), port)


def head(first: int, count: int, *, random: bool) -> int:
    """Where a Backend's endpoints are, and how one of them is chosen."""
    return first | count << 32 | (_RANDOM if random else 0)


def _mapped(address: str) -> bytes:
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return _IPV4 + socket.inet_pton(socket.AF_INET, address)
