"""Both transports pass the one check suite."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from fairlead.api import kinds
from fairlead.base import secret
from fairlead.client import errors, exchange, https, kubeconfig
from fairlead.testing import apiserver, check_client, clock, http_door


async def test_the_client_in_process_passes_the_check() -> None:
    server = apiserver.FakeApiServer(clock=clock.FakeClock())
    await check_client.check(server.client(), "default")


async def test_the_client_over_http_passes_the_check() -> None:
    server = apiserver.FakeApiServer(clock=clock.FakeClock())
    async with http_door.serve(server) as url:
        client, transport = https.client(kubeconfig.Config(server=url))
        await check_client.check(client, "default")
        await transport.close()


async def test_the_token_goes_with_every_request() -> None:
    seen: list[str] = []

    async def note(request: exchange.Request) -> exchange.Response:
        seen.append(request.headers.get("authorization", ""))
        return exchange.Response(200, body=b'{"kind":"Pod"}')

    async with http_door.serve(note) as url:
        client, transport = https.client(kubeconfig.Config(server=url, token=secret.Secret("t0")))
        await client.get(kinds.POD, "a", namespace="default")
        await transport.close()
    assert seen == ["Bearer t0"]


async def test_a_server_that_cannot_be_reached_is_an_api_error() -> None:
    client, transport = https.client(kubeconfig.Config(server="http://127.0.0.1:1"))
    with pytest.raises(errors.ApiError) as caught:
        await client.get(kinds.POD, "a", namespace="default")
    assert (caught.value.code, caught.value.reason) == (503, "ServiceUnavailable")
    assert "127.0.0.1:1" in str(caught.value)
    await transport.close()


async def test_a_foreign_answer_is_an_api_error_with_its_text() -> None:
    async def teapot(request: exchange.Request) -> exchange.Response:
        return exchange.Response(418, body=b"<html>short and stout")

    async with http_door.serve(teapot) as url:
        client, transport = https.client(kubeconfig.Config(server=url))
        with pytest.raises(errors.ApiError, match="short and stout") as caught:
            await client.get(kinds.POD, "a", namespace="default")
        assert caught.value.code == 418
        await transport.close()


async def test_a_redirect_is_refused() -> None:
    async def elsewhere(request: exchange.Request) -> exchange.Response:
        return exchange.Response(302, {"location": "http://127.0.0.1:1/"}, b"{}")

    async with http_door.serve(elsewhere) as url:
        client, transport = https.client(kubeconfig.Config(server=url))
        with pytest.raises(errors.ApiError):
            await client.get(kinds.POD, "a", namespace="default")
        await transport.close()


async def test_a_server_with_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, key = http_door.certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = apiserver.FakeApiServer(clock=clock.FakeClock())
    async with http_door.serve(server, tls=context) as url:
        client, transport = https.client(kubeconfig.Config(server=url))
        with pytest.raises(errors.ApiError, match="certificate"):
            await client.list(kinds.POD)
        await transport.close()
        trusting, transport = https.client(kubeconfig.Config(server=url, ca_pem=certificate.read_bytes()))
        assert (await trusting.list(kinds.POD)).items == []
        await transport.close()


async def test_a_watch_cut_in_the_middle_of_a_line_is_an_api_error() -> None:
    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED","object":{"metadata":{"na')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with http_door.serve_app(cut) as url:
        client, transport = https.client(kubeconfig.Config(server=url))
        with pytest.raises(errors.ApiError):
            async for _ in client.watch(kinds.POD):
                raise AssertionError("half an event is no event")
        await transport.close()


async def test_a_watch_can_be_left_at_any_time() -> None:
    server = apiserver.FakeApiServer(clock=clock.FakeClock())

    async def follow() -> None:
        async for _ in server.client().watch(kinds.POD):
            pass

    task = asyncio.create_task(follow())
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_watch_that_is_closed_leaves_no_connection_behind(tmp_path: Path) -> None:
    certificate, key = http_door.certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = apiserver.FakeApiServer(clock=clock.FakeClock())
    ended = asyncio.Event()

    async def noting(request: exchange.Request) -> exchange.Response:
        response = await server(request)
        if response.stream is not None:
            response.stream = _told(response.stream, ended)
        return response

    async with http_door.serve(noting, tls=context) as url:
        client, transport = https.client(kubeconfig.Config(server=url, ca_pem=certificate.read_bytes()))
        events = client.watch(kinds.CONFIG_MAP)
        await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "a"}}, namespace="default")
        assert (await anext(events)).type == "ADDED"
        await events.aclose()
        await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "b"}}, namespace="default")
        async with asyncio.timeout(10):
            await ended.wait()
        await transport.close()


async def _told(stream: AsyncIterator[bytes], ended: asyncio.Event) -> AsyncIterator[bytes]:
    try:
        async for chunk in stream:
            yield chunk
    finally:
        ended.set()
