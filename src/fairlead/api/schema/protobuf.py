"""Kubernetes' protobuf bodies (`application/vnd.kubernetes.protobuf`) as JSON objects. Decoding only: answers are JSON.

Typed Go clients since 1.32, kubectl's `create` commands among them, send them without asking. Field numbers come from
`protobuf.bin` (scripts/build_protobuf.py). Unknown fields are dropped, as every protobuf decoder does.
"""

from __future__ import annotations

import base64
import datetime
import functools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from fairlead.api.schema import pack

MAGIC = b"k8s\x00"
_DEPTH = 64
Fields = dict[str, list[Any]]


class ProtobufError(ValueError):
    """The bytes are not what they say."""


@functools.cache
def _messages() -> dict[str, Fields]:
    packed = Path(__file__).with_name("protobuf.bin").read_bytes()
    found: dict[str, Fields] = msgspec.json.decode(zlib.decompress(packed))
    return found


def decode(body: bytes) -> dict[str, Any]:
    """The object in an envelope (`runtime.Unknown`). Raises ProtobufError."""
    if not body.startswith(MAGIC):
        raise ProtobufError("the body does not begin with the prefix k8s")
    try:
        envelope = dict(_wire(body[len(MAGIC) :]))
        meta = dict(_wire(_bytes(envelope.get(1, b""))))
        api_version, kind = _bytes(meta.get(1, b"")).decode(), _bytes(meta.get(2, b"")).decode()
        group, _, version = api_version.rpartition("/")
        name = pack.definition_of(group, version, kind) or _common(kind)
        if name not in _messages():
            raise ProtobufError(f"no protobuf form of {api_version} {kind} is known")
        obj = _message(_bytes(envelope.get(2, b"")), name, 0)
    except (struct.error, UnicodeDecodeError, IndexError, RecursionError) as error:
        raise ProtobufError(f"malformed: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **obj}


def _common(kind: str) -> str:
    return f"io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ProtobufError("a field has the wrong wire type")
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
    raise ProtobufError("a number is too long")


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field: ints for varints, bytes for the rest."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if size < 0 or at + size > end:
            raise ProtobufError("a field ends too early")
        yield number, data[at : at + size]
        at += size


def _message(data: bytes, name: str, depth: int) -> Any:
    if depth > _DEPTH:
        raise ProtobufError(f"nested deeper than {_DEPTH} levels")
    fields = _messages()[name]
    result: dict[str, Any] = {}
    for number, raw in _wire(data):
        known = fields.get(str(number))
        if known is None:
            continue
        key, form, word, keeps = known
        if form == 3:
            entry = dict(_wire(_bytes(raw)))
            result.setdefault(key, {})[_bytes(entry.get(1, b"")).decode()] = _value(entry.get(2, b""), word, depth)
            continue
        value = _value(raw, word, depth)
        if form == 2:
            result.setdefault("", []).append(value)
        elif form == 1:
            result.setdefault(key, []).append(value)
        elif key == "":
            result.update(value)
        elif value is not None and (keeps or value not in ("", 0)):
            result[key] = value
    return result.get("", []) if "" in result else result


def _value(raw: int | bytes, word: str, depth: int) -> Any:
    convert = _WORDS.get(word)
    return convert(raw) if convert is not None else _message(_bytes(raw), word, depth + 1)


def _signed(raw: int | bytes) -> int:
    if not isinstance(raw, int):
        return 0 if raw == b"" else struct.unpack("<q", raw.ljust(8, b"\0"))[0]
    return raw - (1 << 64) if raw >> 63 else raw


def _time(raw: int | bytes, *, micro: bool) -> str | None:
    fields = dict(_wire(_bytes(raw)))
    if not fields:
        return None
    seconds, nanos = _signed(fields.get(1, 0)), _signed(fields.get(2, 0))
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise ProtobufError("a time is out of range") from error
    if seconds == -62135596800:  # Go's zero time
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{nanos // 1000:06d}Z" if micro else "Z")


def _int_or_string(raw: int | bytes) -> int | str:
    fields = dict(_wire(_bytes(raw)))
    return _bytes(fields.get(3, b"")).decode() if fields.get(1) else _signed(fields.get(2, 0))


def _raw_json(raw: int | bytes) -> Any:
    try:
        return json.loads(_bytes(dict(_wire(_bytes(raw))).get(1, b"")) or b"null")
    except ValueError as error:
        raise ProtobufError("a raw field is not JSON") from error


_WORDS: dict[str, Callable[[int | bytes], Any]] = {
    "string": lambda raw: _bytes(raw).decode(),
    "bytes": lambda raw: base64.b64encode(_bytes(raw)).decode(),
    "int": _signed,
    "bool": bool,
    "double": lambda raw: struct.unpack("<d", _bytes(raw))[0],
    "#quantity": lambda raw: _bytes(dict(_wire(_bytes(raw))).get(1, b"0")).decode(),
    "#intorstring": _int_or_string,
    "#time": lambda raw: _time(raw, micro=False),
    "#microtime": lambda raw: _time(raw, micro=True),
    "#duration": lambda raw: f"{_signed(dict(_wire(_bytes(raw))).get(1, 0)) / 1e9:g}s",
    "#raw": _raw_json,
}
