"""The transport over TLS: an Exchange to any Kubernetes API server, over pooled connections.

Promises: credentials of the kubeconfig on every request, server name and CA checked (unless the kubeconfig says
insecure), a bound on connecting and on silence. A server that cannot be reached is an ApiError 503
`ServiceUnavailable`, so callers know one kind of failure. Refused: redirects (a token must not travel to another
host).
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import urllib.parse
from pathlib import Path

import aiohttp
import yarl

from fairlead.client import errors, exchange, kubeconfig, rest

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 60.0
WATCH_SILENCE_SECONDS = 3600.0  # servers end watches after 30 to 60 minutes


class HttpsExchange:
    """Sends Requests to one server. `close` ends its connections; the session is made with the first request."""

    def __init__(self, config: kubeconfig.Config) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: exchange.Request) -> exchange.Response:
        watch = ("watch", "true") in request.query or ("follow", "true") in request.query
        timeout = aiohttp.ClientTimeout(
            total=None if watch else REQUEST_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=WATCH_SILENCE_SECONDS
        )
        try:
            response = await self._open().request(
                request.method,
                self._url(request),
                data=request.body or None,
                headers={**request.headers, **self._authorization()},
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self._config.server_name or None,
            )
            if watch and response.status < 400:
                return exchange.Response(response.status, _headers(response), stream=_Stream(response))
            async with response:
                return exchange.Response(response.status, _headers(response), await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._config.server, error) from error

    def _url(self, request: exchange.Request) -> yarl.URL:
        query = urllib.parse.urlencode(request.query)
        path = urllib.parse.quote(request.path, safe="/:~")
        return yarl.URL(f"{self._config.server}{path}{'?' + query if query else ''}", encoded=True)

    def _authorization(self) -> dict[str, str]:
        if self._config.token is not None:
            return {"authorization": f"Bearer {self._config.token.reveal()}"}
        if self._config.token_file is not None:
            return {"authorization": f"Bearer {self._config.token_file.read_text().strip()}"}
        return {}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=_trust(self._config), limit=0, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self._session

    async def close(self) -> None:
        """Ends the connections; running watches end with an error."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def client(config: kubeconfig.Config) -> tuple[rest.RestClient, HttpsExchange]:
    """A Client for the server of a kubeconfig, and the Exchange to close when done."""
    send = HttpsExchange(config)
    return rest.RestClient(send), send


def _trust(config: kubeconfig.Config) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=config.ca_pem.decode() if config.ca_pem else None)
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.certificate_pem:
        _load_certificate(context, config)
    return context


def _load_certificate(context: ssl.SSLContext, config: kubeconfig.Config) -> None:
    # The ssl module reads client certificates from files only.
    with tempfile.TemporaryDirectory(prefix="fairlead-client-") as folder:
        pem = Path(folder) / "pem"
        pem.touch(mode=0o600)
        pem.write_bytes(config.certificate_pem + b"\n" + config.key_pem)
        context.load_cert_chain(pem)


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): text for name, text in response.headers.items()}


class _Stream:
    """The bytes of an answer as they come. `aclose` ends the connection at once, read to its end or not begun."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(str(self._response.url.origin()), error) from error
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        connection = self._response.connection
        transport = connection.transport if connection is not None else None
        if transport is not None:
            transport.abort()  # a goodbye over TLS would be waited for
        self._response.close()
        await asyncio.sleep(0)


def _unreachable(server: str, error: BaseException) -> errors.ApiError:
    message = f"{server} cannot be reached: {error or type(error).__name__}"
    status = {"kind": "Status", "status": "Failure", "reason": "ServiceUnavailable", "message": message, "code": 503}
    return errors.ApiError(status)
