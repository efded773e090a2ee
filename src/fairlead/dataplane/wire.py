"""The engine's control protocol (docs/protocol.md, version 1) as typed messages and frames.

Promises: unknown fields are ignored, defaults are left out, a frame is four bytes of length and JSON. Refuses: frames
over 64 MiB and messages whose type it does not know (`WireError`).
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from fairlead.routing import table

VERSION = 1
MAX_FRAME_BYTES = 64 << 20
SECTIONS: tuple[Literal["listeners", "routes", "backends", "certificates", "names"], ...] = (
    "listeners", "routes", "backends", "certificates", "names",
)  # fmt: skip


class WireError(Exception):
    """The peer does not speak this protocol; the connection is of no use."""


class Hello(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="hello"):
    version: int


class SocketName(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    family: str
    transport: str


class Sockets(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="sockets"):
    """Goes with one file descriptor each."""

    sockets: tuple[SocketName, ...]


class StructureChange(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="structure"):
    """Objects are JSON already: each is encoded once, for the wire and for its hash."""

    epoch: int
    seq: int
    full: bool = False
    listeners: tuple[msgspec.Raw, ...] = ()
    routes: tuple[msgspec.Raw, ...] = ()
    backends: tuple[msgspec.Raw, ...] = ()
    certificates: tuple[msgspec.Raw, ...] = ()
    names: tuple[msgspec.Raw, ...] = ()
    removed: dict[str, list[str]] = {}


class EndpointSet(msgspec.Struct, frozen=True, kw_only=True):
    backend: str
    endpoints: msgspec.Raw


class EndpointsChange(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="endpoints"):
    epoch: int
    seq: int
    backends: tuple[EndpointSet, ...]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    address: str
    port: int
    path: str
    scheme: str
    headers: tuple[tuple[str, str], ...]
    service: str
    initial_delay_seconds: float
    period_seconds: float
    timeout_seconds: float
    success_threshold: int
    failure_threshold: int
    fast_start: bool


class ProbesChange(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="probes"):
    epoch: int
    seq: int
    full: bool = False
    set: tuple[msgspec.Raw, ...] = ()
    removed: tuple[str, ...] = ()


class Drain(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="drain"):
    """Of an address; or of Listeners: whoever came in by them is seen out."""

    epoch: int = 0
    seq: int = 0
    id: str = ""
    address: str = ""
    listeners: tuple[str, ...] = ()


class Undrain(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="undrain"):
    epoch: int
    seq: int
    id: str


class Ping(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="ping"):
    id: int


class Shutdown(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="shutdown"):
    grace_seconds: float = 0.0


class Upgrade(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="upgrade"):
    path: str


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="welcome"):
    version: int = 1
    engine_version: str = ""
    master_pid: int = 0
    worker_pid: int = 0
    epoch: int = 0
    seq: int = 0
    hashes: dict[str, dict[str, str]] = {}
    sockets: tuple[str, ...] = ()


class WireNack(msgspec.Struct, frozen=True, kw_only=True):
    object: str
    path: str = ""
    message: str = ""


class Acked(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="ack"):
    epoch: int
    seq: int
    nacks: tuple[WireNack, ...] = ()


class Refused(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="error"):
    message: str
    epoch: int | None = None
    seq: int | None = None


class Drained(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="drained"):
    id: str
    address: str = ""
    in_flight: int = 0


class ProbeResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="probe"):
    id: str
    ok: bool
    message: str = ""
    at: float = 0.0


class EndpointState(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="endpoint"):
    backend: str
    address: str
    port: int
    state: str
    reason: str = ""


class Demand(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="demand"):
    backend: str
    waiting: int


class Worker(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="worker"):
    pid: int
    restarts: int = 0
    reason: str = ""


class Pong(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="pong"):
    id: Any = None


Event = Welcome | Acked | Refused | Drained | ProbeResult | EndpointState | Demand | Worker | Pong
Request = (
    Hello | Sockets | StructureChange | EndpointsChange | ProbesChange | Drain | Undrain | Ping | Shutdown | Upgrade
)

_encoder = msgspec.json.Encoder()
_events: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Event)


def encode(message: Request) -> bytes:
    """The message as one frame."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return len(body).to_bytes(4, "big") + body


def decode_event(body: bytes) -> Event:
    """What the engine says. Raises WireError."""
    try:
        event: Event = _events.decode(body)
    except msgspec.MsgspecError as error:
        raise WireError(f"the engine said {body[:200]!r}: {error}") from None
    return event


def encode_object(thing: msgspec.Struct | tuple[table.Endpoint, ...]) -> bytes:
    """An object's (or endpoint array's) JSON, exactly as it goes over the wire."""
    return _encoder.encode(thing)


def hash_of(encoded: bytes) -> str:
    """The object's hash, as `welcome.hashes` has it."""
    return hashlib.sha256(encoded).hexdigest()[:16]


class Frames:
    """Cuts a byte stream into frames' bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Adds what was received; returns the bodies that are complete. Raises WireError for a frame too large."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_FRAME_BYTES:
                raise WireError(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
            if len(self._buffer) < 4 + size:
                break
            bodies.append(bytes(self._buffer[4 : 4 + size]))
            del self._buffer[: 4 + size]
        return bodies
