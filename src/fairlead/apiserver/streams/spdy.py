"""SPDY/3.1 frames, as far as Kubernetes' port-forward uses them: streams, data, resets, pings. Bytes in, frames out.

No I/O. Header blocks are zlib streams with SPDY's dictionary; flow control is not enforced, as in the library that
kubectl uses (moby/spdystream ignores window updates). Specification: SPDY Protocol Draft 3.1.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

_VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FLAG_FIN = 0x01
MAX_FRAME_BYTES = 1 << 20
MAX_HEADER_BYTES = 64 << 10

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language "
    "content-length content-location "
    "content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match "
    "if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range "
    "referer retry-after server te trailer transfer-encoding upgrade user-agent vary via "
    "warning www-authenticate method get "
    "status 200|OK version HTTP/1.1 url public set-cookie keep-alive origin"
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 "
    "Forbidden404 Not Found500 Internal "
    "Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, "
    "Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,"
    "utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.replace("|", " ").encode() for word in _WORDS.split()) + _REST.encode()
)


class SpdyError(ValueError):
    """The peer broke the protocol; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `kind` is 0 for data; `number` is what a ping carries."""

    kind: int
    stream: int
    fin: bool = False
    data: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    number: int = 0

    def header(self, name: str) -> str:
        """A header's first value, or ""."""
        return next((value for key, value in self.headers if key == name), "")


class Codec:
    """Both directions of one connection: `feed` what arrived, send what the other methods return."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now. Raises SpdyError."""
        self._waiting += data
        frames = []
        while len(self._waiting) >= 8:
            first, second = struct.unpack_from(">II", self._waiting)
            length = second & 0xFFFFFF
            if length > MAX_FRAME_BYTES:
                raise SpdyError(f"a frame of {length} bytes is too long")
            if len(self._waiting) < 8 + length:
                break
            payload = bytes(self._waiting[8 : 8 + length])
            del self._waiting[: 8 + length]
            frame = self._frame(first, second >> 24, payload)
            if frame is not None:
                frames.append(frame)
        return frames

    def _frame(self, first: int, flags: int, payload: bytes) -> Frame | None:
        fin = bool(flags & FLAG_FIN)
        if not first >> 31:
            return Frame(0, first & 0x7FFFFFFF, fin, payload)
        version, kind = (first >> 16) & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise SpdyError(f"version {version} is not spoken")
        try:
            return self._control(kind, fin, payload)
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a frame of type {kind} is malformed: {error}") from error

    def _control(self, kind: int, fin: bool, payload: bytes) -> Frame | None:
        if kind in (SYN_STREAM, SYN_REPLY, HEADERS):
            stream = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
            block = payload[10 if kind == SYN_STREAM else 4 :]
            return Frame(kind, stream, fin, headers=self._headers(block))
        if kind == RST_STREAM:
            return Frame(kind, struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF)
        if kind == PING:
            return Frame(kind, 0, number=struct.unpack_from(">I", payload)[0])
        if kind == GOAWAY:
            return Frame(kind, 0)
        return None  # settings, window updates and unknown frames mean nothing here

    def _headers(self, block: bytes) -> tuple[tuple[str, str], ...]:
        plain = self._inflate.decompress(block, MAX_HEADER_BYTES)
        count = struct.unpack_from(">I", plain)[0]
        found, at = [], 4
        for _ in range(min(count, 256)):
            name, at = _text(plain, at)
            value, at = _text(plain, at)
            found.append((name, value.partition("\0")[0]))
        return tuple(found)

    def reply(self, stream: int) -> bytes:
        """SYN_REPLY without headers: the stream is accepted."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(SYN_REPLY, struct.pack(">I", stream) + block)

    def open(self, stream: int, headers: dict[str, str]) -> bytes:
        """SYN_STREAM: what a client sends; used by tests."""
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            plain += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + block)


def _text(plain: bytes, at: int) -> tuple[str, int]:
    length = struct.unpack_from(">I", plain, at)[0]
    end = at + 4 + length
    if end > len(plain):
        raise SpdyError("a header block ends too early")
    return plain[at + 4 : end].decode("latin-1").lower() if length < 64 else plain[at + 4 : end].decode("latin-1"), end


def _control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", 0x80000000 | _VERSION << 16 | kind, flags << 24 | len(payload)) + payload


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    """A DATA frame."""
    return struct.pack(">II", stream, (FLAG_FIN if fin else 0) << 24 | len(payload)) + payload


def reset(stream: int, status: int = 5) -> bytes:
    """RST_STREAM; 5 is CANCEL."""
    return _control(RST_STREAM, struct.pack(">II", stream, status))


def ping(number: int) -> bytes:
    """The answer to a PING."""
    return _control(PING, struct.pack(">I", number))
