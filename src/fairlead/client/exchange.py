"""One request to an API server and its answer, without a socket: what the API server's chain takes and gives.

The HTTPS door of the API server makes `Request`s of what arrives; the in-process transport makes the very same. An
`Exchange` is the whole chain: authn (unless `identity` is given), authz, admission, store or watch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, as Kubernetes' UserInfo."""

    username: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """`query` keeps repeated parameters in order; header names are lower case; `body` is whole."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    identity: Identity | None = None


@dataclass(slots=True)
class Response:
    """Either `body` or, for watches and followed logs, `stream` (closed with `aclose` when the caller goes)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None


Exchange = Callable[[Request], Awaitable[Response]]
