"""An Exchange behind a real loopback socket, for tests of what speaks HTTP."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from fairlead.base import x509
from fairlead.client import exchange


@contextlib.asynccontextmanager
async def serve(send: exchange.Exchange, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serves the Exchange at the URL given, on a free port."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await send(
            exchange.Request(
                method=request.method,
                path=request.path,
                query=tuple(request.query.items()),
                headers={name.lower(): text for name, text in request.headers.items()},
                body=await request.read(),
            )
        )
        if response.stream is None:
            return web.Response(status=response.status, headers=response.headers, body=response.body)
        streamed = web.StreamResponse(status=response.status, headers=response.headers)
        try:
            await streamed.prepare(request)
            async for chunk in response.stream:
                await streamed.write(chunk)
        finally:
            await response.close()
        return streamed

    async with serve_app(answer, tls=tls) as url:
        yield url


@contextlib.asynccontextmanager
async def serve_app(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serves every path with one aiohttp handler."""
    runner = web.ServerRunner(web.Server(answer), handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as files in the folder."""
    chain, private = folder / "cert.pem", folder / "key.pem"
    made = x509.self_signed(["127.0.0.1"], now=datetime.datetime.now(datetime.UTC), days=1)
    for file, text in zip((chain, private), made, strict=True):
        file.write_text(text)
    return chain, private
