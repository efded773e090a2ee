"""One request to an API server and its answer, without a socket: what the API server's chain takes and gives.

The HTTPS door of the API server makes `Request`s of what arrives; the in-process transport makes the very same. An
`Exchange` is the whole chain: authn (unless `identity` is given), authz, admission, store or watch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, as Kubernetes' UserInfo."""

    username: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Request(msgspec.Struct, frozen=True):
    """`query` keeps repeated parameters in order; header names are lower case; `body` is whole."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    identity: Identity | None = None


class Sink(Protocol):
    """A transport that takes bytes at once."""

    def frame(self, data: bytes) -> bytes:
        """The bytes as they are sent: the same ones for every sink of a server."""

    def put(self, framed: bytes) -> bool:
        """Takes framed bytes. False: wait for `drained` before you put more."""

    async def drained(self) -> None:
        """Returns when there is room again. Raises ConnectionError when the reader has gone."""


@dataclass(slots=True)
class Response:
    """Either `body` or, for watches and followed logs, `stream` (closed with `aclose` when the caller goes). With
    `pour`, a transport may have the stream's bytes written into a Sink instead, which is faster."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    pour: Callable[[Sink], Awaitable[None]] | None = None

    async def close(self) -> None:
        """Ends the stream, wherever its reader has stopped. Once is enough."""
        ending = getattr(self.stream, "aclose", None)
        if ending is not None:
            await ending()


Exchange = Callable[[Request], Awaitable[Response]]
