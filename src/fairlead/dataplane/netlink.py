"""Netlink, as far as nf_tables and conntrack need it: attributes, messages, batches that are one transaction, dumps.

Promises: a batch is committed as a whole or not at all, and `commit` returns after the kernel's answer. Follows the
kernel's linux/netlink.h and linux/netfilter/nfnetlink.h. Needs CAP_NET_ADMIN in the network namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_CREATE, NLM_F_REPLACE, NLM_F_EXCL = 0x400, 0x100, 0x200
NLA_F_NESTED = 0x8000
BATCH_BEGIN, BATCH_END = 0x10, 0x11
SUBSYS_CTNETLINK, SUBSYS_NFTABLES = 1, 10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_NFGEN = struct.Struct("=BBH")
_ATTR = struct.Struct("=HH")
_BUFFER_BYTES = 64 << 20
_TIMEOUT_SECONDS = 30.0


class NetlinkError(OSError):
    """The kernel refused a message; `index` is its place in the batch (-1 when unknown)."""

    def __init__(self, number: int, index: int = -1) -> None:
        super().__init__(number, os.strerror(number))
        self.index = index


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = len(payload) + 4
    return _ATTR.pack(size, kind) + payload + b"\0" * (-size % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def be32(kind: int, value: int) -> bytes:
    """A number in network byte order, as nf_tables wants all of its numbers."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def message(kind: int, flags: int, sequence: int, body: bytes, *, family: int = 0, resource: int = 0) -> bytes:
    """A netfilter message with its two headers."""
    size = _HEADER.size + _NFGEN.size + len(body)
    head = _HEADER.pack(size, kind, flags | NLM_F_REQUEST, sequence, 0)
    return head + _NFGEN.pack(family, 0, socket.htons(resource)) + body + b"\0" * (-size % 4)


def attributes(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes in a payload, without flags in their kinds."""
    view = memoryview(data)
    while len(view) >= 4:
        size, kind = _ATTR.unpack_from(view)
        if size < 4:
            return
        yield kind & 0x3FFF, view[4:size]
        view = view[(size + 3) & ~3 :]


class Netlink:
    """A long-lived netfilter socket. Blocking; calls are short, long ones belong in a thread."""

    def __init__(self) -> None:
        """Raises OSError where the kernel has no netfilter netlink or we may not use it."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._sequence = 0
        for option in (33, socket.SO_RCVBUF):  # SO_RCVBUFFORCE where we may
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
                break
            except PermissionError:
                continue

    def close(self) -> None:
        self._socket.close()

    def commit(self, messages: Sequence[tuple[int, int, bytes]], *, family: int) -> None:
        """Commits (kind, flags, body) messages of nf_tables as one transaction. Raises NetlinkError."""
        if not messages:
            return
        first = self._sequence + 1
        parts = [message(BATCH_BEGIN, 0, first, b"", resource=SUBSYS_NFTABLES)]
        last = len(messages) - 1
        for index, (kind, flags, body) in enumerate(messages):
            acked = NLM_F_ACK if index == last else 0
            parts.append(message(SUBSYS_NFTABLES << 8 | kind, flags | acked, first + 1 + index, body, family=family))
        self._sequence = first + len(messages) + 1
        parts.append(message(BATCH_END, 0, self._sequence, b"", resource=SUBSYS_NFTABLES))
        self._send(b"".join(parts))
        self._await_ack(first + 1, first + 1 + last)

    def dump(self, kind: int, body: bytes, *, family: int) -> Iterator[bytes]:
        """The bodies (after the netfilter header) of a dump. Raises NetlinkError."""
        self._sequence += 1
        self._send(message(kind, NLM_F_DUMP, self._sequence, body, family=family))
        while True:
            for _, of, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if of == _NLMSG_DONE:
                    return
                if of == _NLMSG_ERROR:
                    _raise(payload)
                    return
                yield payload[_NFGEN.size :]

    def ask(self, kind: int, body: bytes, *, family: int) -> bytes:
        """The body of the one answer to a question. Raises NetlinkError."""
        self._sequence += 1
        self._send(message(kind, 0, self._sequence, body, family=family))
        while True:
            for _, of, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if of == _NLMSG_ERROR:
                    _raise(payload)
                else:
                    return payload[_NFGEN.size :]

    def request(self, kind: int, flags: int, body: bytes, *, family: int) -> None:
        """One message outside of a batch, acknowledged. Raises NetlinkError."""
        self._sequence += 1
        self._send(message(kind, flags | NLM_F_ACK, self._sequence, body, family=family))
        self._await_ack(self._sequence, self._sequence)

    def _send(self, data: bytes) -> None:
        if len(data) > 100_000:
            for option in (32, socket.SO_SNDBUF):  # SO_SNDBUFFORCE where we may: a transaction is one datagram
                try:
                    self._socket.setsockopt(socket.SOL_SOCKET, option, min(_BUFFER_BYTES, len(data) * 2))
                    break
                except PermissionError:
                    continue
        self._socket.send(data)

    def _await_ack(self, first: int, last: int) -> None:
        while True:
            for _, of, sequence, payload in self._receive():
                if of != _NLMSG_ERROR or not first - 1 <= sequence <= last + 1:
                    continue
                _raise(payload, index=sequence - first)
                if sequence == last:
                    return

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(flags, kind, sequence, payload) of each message in one datagram."""
        data = self._socket.recv(1 << 20)
        offset = 0
        while offset + _HEADER.size <= len(data):
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if size < _HEADER.size:
                return
            yield flags, kind, sequence, data[offset + _HEADER.size : offset + size]
            offset += (size + 3) & ~3


def _raise(payload: bytes, *, index: int = -1) -> None:
    number = -struct.unpack_from("=i", payload)[0]
    if number:
        raise NetlinkError(number, index)


def available() -> str:
    """Why netfilter cannot be used here; "" when it can."""
    try:
        Netlink().close()
    except OSError as error:
        return f"no netfilter netlink: {errno.errorcode.get(error.errno or 0, error.errno)}"
    return ""
