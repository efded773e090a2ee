"""An Exchange behind a real loopback socket, for tests of what speaks HTTP."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

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
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private
