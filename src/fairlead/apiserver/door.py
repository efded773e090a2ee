"""The HTTPS door: aiohttp makes `Request`s of what arrives on a TLS socket and writes what the chain answers.

Refused before the chain sees anything: a foreign Host (421 would invite retries, so 403), a foreign Origin, bodies
over 3 MiB, headers over 64 KiB or more than 100. Answers are streamed in pieces so that a large list does not hold
up the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import HttpVersion11, web

from fairlead.apiserver import authentication, codec, status
from fairlead.client import errors, exchange

HEADER_BYTES = 64 << 10
HEADERS = 100
PIECE_BYTES = 256 << 10
KEEPALIVE_SECONDS = 90.0

Opener = Callable[[str], socket.socket]
Upgrade = Callable[[exchange.Request, web.BaseRequest], Awaitable[web.StreamResponse]]


class Door:
    """Listening sockets of one chain."""

    def __init__(
        self,
        answer: exchange.Exchange,
        authenticator: authentication.Authenticator,
        *,
        hosts: frozenset[str],
        upgrade: Upgrade | None = None,
        opener: Opener | None = None,
    ) -> None:
        self._answer = answer
        self._authenticator = authenticator
        self._hosts = hosts
        self._upgrade = upgrade
        self._opener = opener
        self._server = web.Server(
            self._serve,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            auto_decompress=False,
        )
        self._listeners: list[asyncio.Server] = []

    async def listen(self, address: str, port: int, context: ssl.SSLContext) -> int:
        """Opens a socket; returns its port."""
        loop = asyncio.get_running_loop()
        if self._opener is None:
            listener = await loop.create_server(self._server, address, port, ssl=context, backlog=512)
        else:
            opened = self._opener(f"tcp:[{address}]:{port}" if ":" in address else f"tcp:{address}:{port}")
            listener = await loop.create_server(self._server, sock=opened, ssl=context, backlog=512)
        self._listeners.append(listener)
        found: int = listener.sockets[0].getsockname()[1]
        return found

    async def close(self, *, grace_seconds: float = 1.0) -> None:
        """Closes the sockets, then the connections."""
        for listener in self._listeners:
            listener.close()
        transports = [connection.transport for connection in self._server.connections]
        await self._server.shutdown(grace_seconds)
        for transport in transports:  # a peer that does not answer TLS's goodbye must not keep its socket
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, incoming: web.BaseRequest) -> web.StreamResponse:
        try:
            request = await self._request(incoming)
        except errors.ApiError as error:
            return _whole(status.response(error))
        if self._upgrade is not None and "upgrade" in request.headers.get("connection", "").lower():
            return await self._upgrade(request, incoming)
        response = await self._answer(request)
        if response.stream is not None:
            return await _streamed(incoming, response)
        if len(response.body) > PIECE_BYTES:
            return await _in_pieces(incoming, response)
        return _whole(response)

    async def _request(self, incoming: web.BaseRequest) -> exchange.Request:
        headers = _headers(incoming)
        local = incoming.transport.get_extra_info("sockname") if incoming.transport else None
        self._check_host(headers, str(local[0]) if local else "")
        certificate = incoming.transport.get_extra_info("peercert") if incoming.transport else None
        identity = self._authenticator.identify(headers, certificate)
        length = incoming.content_length
        if length is not None and length > codec.BODY_BYTES:
            raise status.too_large(codec.BODY_BYTES)
        body = await _body(incoming) if incoming.can_read_body else b""
        url = incoming.rel_url
        return exchange.Request(incoming.method, url.path, tuple(url.query.items()), headers, body, identity)

    def _check_host(self, headers: Mapping[str, str], local: str) -> None:
        host = _host(headers.get("host", ""))
        if host not in self._hosts and host != local:
            raise status.failure(403, "Forbidden", f"this server does not answer for the host {host!r}")
        origin = headers.get("origin")
        if origin and _host(origin.partition("://")[2]) not in self._hosts:
            raise status.failure(403, "Forbidden", f"requests from the origin {origin!r} are not allowed")


def _host(text: str) -> str:
    """A host without its port, lower case."""
    text = text.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text


def _headers(incoming: web.BaseRequest) -> dict[str, str]:
    raw = incoming.raw_headers
    if len(raw) > HEADERS or sum(len(name) + len(value) for name, value in raw) > HEADER_BYTES:
        raise status.failure(
            431, "RequestHeaderFieldsTooLarge", f"at most {HEADERS} headers and {HEADER_BYTES} bytes of them"
        )
    found: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("utf-8", "surrogateescape")
        joint = "\n" if name == "impersonate-group" else ", "
        found[name] = f"{found[name]}{joint}{value}" if name in found else value
    return found


async def _body(incoming: web.BaseRequest) -> bytes:
    pieces, size = [], 0
    async for piece in incoming.content.iter_any():
        size += len(piece)
        if size > codec.BODY_BYTES:
            raise status.too_large(codec.BODY_BYTES)
        pieces.append(piece)
    body = b"".join(pieces)
    if incoming.headers.get("content-encoding", "") == "gzip":
        return _unzipped(body)
    return body


def _unzipped(body: bytes) -> bytes:
    import zlib

    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = decompressor.decompress(body, codec.BODY_BYTES + 1)
    except zlib.error as error:
        raise status.bad_request(f"the body is not gzip: {error}") from error
    if len(plain) > codec.BODY_BYTES:
        raise status.too_large(codec.BODY_BYTES)
    return plain


def _with_warnings(headers: Mapping[str, str]) -> Any:
    from multidict import CIMultiDict

    found = CIMultiDict(headers)
    warning = found.pop("warning", "")
    for part in warning.split(', 299 - "') if warning else ():
        found.add("warning", part if part.startswith("299") else f'299 - "{part}')
    return found


def _whole(response: exchange.Response) -> web.Response:
    headers = _with_warnings(response.headers) if "warning" in response.headers else response.headers
    return web.Response(status=response.status, headers=headers, body=response.body)


async def _in_pieces(incoming: web.BaseRequest, response: exchange.Response) -> web.StreamResponse:
    out = web.StreamResponse(status=response.status, headers=_with_warnings(response.headers))
    out.content_length = len(response.body)
    await out.prepare(incoming)
    view = memoryview(response.body)
    for start in range(0, len(view), PIECE_BYTES):
        await out.write(view[start : start + PIECE_BYTES])
        await asyncio.sleep(0)
    await out.write_eof()
    return out


async def _streamed(incoming: web.BaseRequest, response: exchange.Response) -> web.StreamResponse:
    stream = response.stream
    assert stream is not None
    out = web.StreamResponse(status=response.status, headers=_with_warnings(response.headers))
    try:
        await out.prepare(incoming)
        if response.pour is not None and incoming.version >= HttpVersion11:
            await response.pour(_Sink(incoming))
        else:
            async for chunk in stream:
                await out.write(chunk)
        await out.write_eof()
    except ConnectionError:
        if incoming.transport is not None:  # the caller has gone or has stalled
            incoming.transport.abort()
    except asyncio.CancelledError:
        pass
    finally:
        if hasattr(stream, "aclose"):
            with contextlib.suppress(RuntimeError):
                await stream.aclose()
    return out


class _Sink:
    """A connection whose chunked answer is written past aiohttp: one call, no task, for every line of a watch."""

    def __init__(self, incoming: web.BaseRequest) -> None:
        self._protocol = incoming.protocol

    def frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

    def put(self, framed: bytes) -> bool:
        transport = self._protocol.transport
        if transport is None:
            return False
        if framed:
            transport.write(framed)
        return not self._protocol.writing_paused

    async def drained(self) -> None:
        if self._protocol.transport is None or self._protocol.transport.is_closing():
            raise ConnectionResetError("the caller has gone")
        await self._protocol._drain_helper()  # there is no public way to wait for it without writing


def show(tls: ssl.SSLContext, folder: Path) -> None:
    """New connections are shown the folder's server certificate."""
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")


def context(folder: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with the folder's server certificate; client certificates of its CA are accepted."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    show(made, folder)
    made.load_verify_locations(folder / "ca.crt")
    made.verify_mode = ssl.CERT_OPTIONAL
    made.set_alpn_protocols(["http/1.1"])
    return made
