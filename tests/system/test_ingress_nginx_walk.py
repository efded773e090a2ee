"""The cases of ingress-nginx' own end-to-end tests, asked of a real engine that has their table."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from fairlead.base import x509
from fairlead.dataplane import engine
from fairlead.routing import table
from fairlead.testing import ports as free_ports
from tests.routing import ingress_nginx_walk as walk
from tests.system import backends, test_golden_requests

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not test_golden_requests.has_engine(), reason="no engine: set FAIRLEAD_ENGINE"),
]
plane = test_golden_requests.plane


def answer(uri: str, fields: dict[str, list[str]]) -> tuple[int, list[str]]:
    """Status and further fields that a Service answers with, by the path that it is asked for."""
    path = uri.partition("?")[0]
    if found := re.match(r"/status/([0-9]{3})", path):
        return int(found[1]), []
    if found := re.match(r"/basic-auth/(\w+)/(\w+)", path):
        wanted = base64.b64encode(f"{found[1]}:{found[2]}".encode()).decode()
        return (200 if fields.get("authorization") == [f"Basic {wanted}"] else 401), []
    if found := re.match(r"/cookies/set/(\w+)/(\w+)", path):
        return 200, [f"Set-Cookie: {found[1]}={found[2]}"]
    return 200, ["Strict-Transport-Security: max-age=3600; preload", "Server: own"] if "hsts=true" in uri else []


@contextlib.asynccontextmanager
async def service(name: str) -> AsyncIterator[table.Endpoint]:
    """A Service's endpoint, which tells whose it is and what it was asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().split("\r\n")
            fields: dict[str, list[str]] = {}
            for key, _, value in (line.partition(": ") for line in lines[1:] if line):
                fields.setdefault(key.lower(), []).append(value)
            await reader.readexactly(int(fields.get("content-length", ["0"])[0]))
            status, more = answer(lines[0].split(" ")[1], fields)
            body = json.dumps({"name": name, "uri": lines[0].split(" ")[1], "fields": fields}).encode()
            own = "".join(f"{one}\r\n" for one in more)
            writer.write(f"HTTP/1.1 {status} So\r\n{own}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()

    async with backends.Backends() as servers:
        yield await servers.serve(serve)


def on_ports(made: table.Structure, ports: dict[str, int]) -> table.Structure:
    """The table with its doors at free ports, and a certificate that can be used."""
    chain, key = x509.self_signed(["*.example"], now=datetime.now(UTC))
    edge = {name: route for name, route in made.routes.items() if set(route.listeners) & {"edge-http", "edge-https"}}
    return msgspec.structs.replace(
        made,
        routes=edge,
        certificates={**made.certificates, "@default": table.Certificate(id="@default", chain_pem=chain, key_pem=key)},
        listeners={
            f"edge-{scheme}": msgspec.structs.replace(
                made.listeners[f"edge-{scheme}"], sockets=(f"tcp:127.0.0.1:{port}",)
            )
            for scheme, port in ports.items()
        },
    )


async def contradictions(ask: walk.Ask, ports: dict[str, int]) -> list[str]:
    """What the engine says otherwise than the table of cases."""
    status, fields, told = await test_golden_requests.send(walk.request(ask), ports)
    got = told or {"name": "", "uri": "", "fields": {}}
    wrong = [f"status {status}"] if status != ask.status else []
    wrong += [f"to {got['name']}"] if ask.to and got["name"] not in ask.to.split("|") else []
    wrong += [f"uri {got['uri']}"] if ask.uri and got["uri"] != ask.uri else []
    wrong += [f"host {got['fields'].get('host')}"] if ask.host and got["fields"].get("host") != [ask.host] else []
    location = fields.get("location", [""])
    wrong += [f"location {location}"] if ask.location and location != [ask.location] else []
    for side, found, wanted in (("has", fields, ask.has), ("sent", got["fields"], ask.sent)):
        wrong += [f"{side} {name}: {found.get(name.lower())}" for name, value in wanted.items()
                  if not walk.holds(found.get(name.lower()), value)]  # fmt: skip
    return [f"{ask.ask} {ask.fields}: {one}" for one in wrong]


@pytest.mark.parametrize("source", walk.sources())
async def test_the_engine_answers_as_the_table_says(source: str, plane: engine.EnginePlane) -> None:
    ports = {"http": free_ports.free(), "https": free_ports.free()}
    wrong: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        endpoints: dict[str, table.Endpoint] = {}
        for row in walk.rows(walk.sources()[source]):
            made = on_ports(walk.structure(row)[0], ports)
            sets: list[table.BackendEndpoints] = []
            for backend in made.backends:
                name = re.split(r"[/:]", backend)[1]
                if name not in endpoints:
                    endpoints[name] = await stack.enter_async_context(service(name))
                here = () if name in row.case.empty else (endpoints[name],)
                sets.append(table.BackendEndpoints(backend=backend, endpoints=here))
            await plane.apply_endpoints(sets)
            ack = await plane.acked(await plane.apply(made))
            assert ack.nacks == (), row.name
            for ask in row.case.asks:
                wrong += [f"{row.name}: {one}" for one in await contradictions(ask, ports)]
    assert wrong == []


@pytest.mark.parametrize("named", ["fairlead", "nginx"])
async def test_a_hundred_requests_reach_all_of_ten_endpoints(named: str, plane: engine.EnginePlane) -> None:
    """The feature load_balancing of ingress-controller-conformance."""
    ports = {"http": free_ports.free(), "https": free_ports.free()}
    only = walk.Written(host="-", class_name=named, paths=[], default="echo")
    made = on_ports(walk.structure(walk.Row(walk.File("", "", []), walk.Case("", ingresses=[only])))[0], ports)
    async with contextlib.AsyncExitStack() as stack:
        ten = tuple([await stack.enter_async_context(service(f"pod{number}")) for number in range(10)])
        await plane.apply_endpoints([table.BackendEndpoints(backend=name, endpoints=ten) for name in made.backends])
        await plane.acked(await plane.apply(made))
        asked = walk.request(walk.Ask("GET http://load-balancing/"))
        told = [await test_golden_requests.send(asked, ports) for _ in range(100)]
    assert {status for status, _, _ in told} == {200}
    assert {said["name"] for _, _, said in told} == {f"pod{number}" for number in range(10)}
