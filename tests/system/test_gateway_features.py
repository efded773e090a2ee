"""Gateway API's features in the words of the routing table, told to a real engine: it does what the list says."""

from __future__ import annotations

import asyncio
import functools
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fairlead.base import x509
from fairlead.dataplane import engine
from fairlead.routing import table
from fairlead.testing import ports as free_ports
from tests.routing import gateway_features
from tests.system import backends, test_golden_requests

pytestmark = test_golden_requests.pytestmark
plane = test_golden_requests.plane
EXPRESSED = [one for one in gateway_features.load() if "not" not in one]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, backend: str) -> None:
    """Answers every request with what it was, and with fields that are none of the client's business."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        first, *fields = head.decode().strip().split("\r\n")
        told = {"backend": backend, "uri": first.split(" ")[1], "fields": [one.split(": ", 1) for one in fields]}
        body = json.dumps(told).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nX-Server: theirs\r\nX-Secret: 1\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()


async def send(asked: gateway_features.Asked, port: int) -> tuple[int, list[list[str]], bytes]:
    """Status, fields and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = asked.request
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    head = f"{request.method} {request.uri} HTTP/1.1\r\nHost: {request.host}\r\n{fields}Connection: close\r\n\r\n"
    writer.write(head.encode())
    whole = await reader.read()
    writer.close()
    text, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = text.decode().split("\r\n")
    return int(first.split(" ")[1]), [line.split(": ", 1) for line in lines], body


def of(fields: list[list[str]], name: str) -> str:
    return ", ".join(one[1] for one in fields if one[0].lower() == name)


@pytest.mark.parametrize("one", EXPRESSED, ids=lambda one: one["feature"])
async def test_the_engine_does_what_the_feature_says(one: dict[str, Any], plane: engine.EnginePlane) -> None:
    made = gateway_features.structure(one)
    ports = {name: free_ports.free() for name in made.listeners}
    listeners = {
        name: msgspec.structs.replace(found, sockets=(f"{sort(found)}:127.0.0.1:{ports[name]}",))
        for name, found in made.listeners.items()
    }
    chain, key = x509.self_signed(["a.test"], now=datetime.now(UTC))
    certificates = {"made": table.Certificate(id="made", chain_pem=chain, key_pem=key)}
    async with backends.Backends() as servers:
        sets = []
        for name in made.backends:
            endpoint = await servers.serve(functools.partial(answer, backend=name))
            sets.append(table.BackendEndpoints(backend=name, endpoints=(endpoint,)))
        await plane.apply_endpoints(sets)
        changed = msgspec.structs.replace(made, listeners=listeners, certificates=certificates)
        assert (await plane.acked(await plane.apply(changed))).nacks == ()
        for line in one.get("asks", ()):
            asked = gateway_features.parse(line)
            status, fields, body = await send(asked, ports[asked.listener])
            told = json.loads(body) if status == 200 else {}
            if asked.status:
                assert (status, of(fields, "location")) == (asked.status, asked.location), line
            else:
                assert (status, told["backend"], told["uri"]) == (200, asked.backend, asked.uri), line
                assert of(told["fields"], "host") == (asked.host or asked.request.host), line
            assert [of(told["fields"], name) for name, _ in asked.sees] == [value for _, value in asked.sees], line
            assert [of(fields, name) for name, _ in asked.gets] == [value for _, value in asked.gets], line


def sort(listener: table.Listener) -> str:
    return "udp" if listener.protocol == "udp" else "tcp"
