"""The requests of the golden files, sent to a real engine that has their table: it does what the interpreter says."""

from __future__ import annotations

import asyncio
import json
import pathlib
import shutil
import ssl
import tempfile
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import yaml

from fairlead.base import clock, x509
from fairlead.dataplane import engine, spawn
from fairlead.routing import outcome, settings, table, translate
from fairlead.testing import ports as free_ports
from tests.system import backends, local

GOLDEN = local.ROOT / "tests" / "golden"
FILES = [path for path in sorted(GOLDEN.glob("[ir]*/*.yaml")) if "\nrequests:" in path.read_text()]
KINDS = {
    "Service": "services", "EndpointSlice": "endpoint_slices", "Ingress": "ingresses", "Secret": "secrets",
    "IngressClass": "ingress_classes", "ConfigMap": "config_maps", "BackendPolicy": "backend_policies",
}  # fmt: skip


def has_engine() -> bool:
    try:
        return bool(spawn.find_binary())
    except spawn.EngineMissing:
        return False


pytestmark = [pytest.mark.system, pytest.mark.skipif(not has_engine(), reason="no engine: set FAIRLEAD_ENGINE")]


@pytest.fixture
async def plane() -> AsyncIterator[engine.EnginePlane]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fl-"))
    failures: list[object] = []
    made = engine.EnginePlane(
        str(folder / "engine.sock"), clock=clock.SystemClock(), binary=spawn.find_binary(),
        on_failure=lambda *failure: failures.append(failure),
    )  # fmt: skip
    await made.start()
    await made.connected()
    yield made
    await made.shutdown(grace_seconds=0)
    await made.close()
    shutil.rmtree(folder)
    assert failures == []


def structure_of(golden: dict[str, Any]) -> table.Structure:
    fields: dict[str, list[Any]] = {}
    for obj in golden["objects"]:
        fields.setdefault(KINDS[obj["kind"]], []).append(obj)
    where = msgspec.convert(golden.get("settings") or {}, settings.Settings)
    chain, key = x509.self_signed(["*.example"], now=datetime.now(UTC))
    default = table.Certificate(id="@default", chain_pem=chain, key_pem=key)
    where = settings.Settings(**{**{f: getattr(where, f) for f in where.__slots__}, "default_certificate": default})
    return translate.translate(translate.Snapshot(**fields), where).structure


#: fields that each Backend's own answers have
OWN = (b"Server", b"X-Powered-By", b"X-Own")


async def endpoints(servers: backends.Backends, backend: str) -> table.BackendEndpoints:
    """A server of that Backend's, which tells whose it is and what it was asked."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""):
            lines = head.decode().split("\r\n")
            fields: dict[str, list[str]] = {}
            for name, _, value in (line.partition(": ") for line in lines[1:] if line):
                fields.setdefault(name.lower(), []).append(value)
            told = {"backend": backend, "uri": lines[0].split(" ")[1], "host": fields["host"][0], "fields": fields}
            body = json.dumps(told).encode()
            status = fields.get("x-wanted-status", ["200"])[0].encode()
            writer.write(b"HTTP/1.1 %s So\r\nContent-Length: %d\r\n" % (status, len(body)))
            writer.write(b"".join(b"%s: own\r\n" % one for one in OWN) + b"\r\n" + body)
            await writer.drain()

    return table.BackendEndpoints(backend=backend, endpoints=(await servers.serve(answer),))


def request_of(line: str) -> outcome.Request:
    """`METHOD URL [| Name: value | client=ADDRESS]…`; the client is this machine, whatever the line says."""
    first, *more = line.split(" | ")
    method, url = first.split(" ")
    parts = urllib.parse.urlsplit(url)
    headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in more if ": " in one)}
    uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return outcome.Request(
        host=parts.netloc, uri=uri, scheme=parts.scheme, method=method, headers=headers, client="127.0.0.1"
    )


async def send(request: outcome.Request, ports: Mapping[str, int]) -> tuple[int, dict[str, list[str]], Any]:
    """Status, header fields and what the Backend's server tells."""
    context = None
    if request.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", ports[request.scheme], ssl=context, server_hostname=request.host if context else None
    )
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    writer.write(
        f"{request.method} {request.uri} HTTP/1.1\r\nHost: {request.host}\r\n{fields}Connection: close\r\n\r\n".encode()
    )
    whole = await reader.read()
    writer.close()
    head, _, body = whole.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    found: dict[str, list[str]] = {}
    for name, _, value in (line.partition(": ") for line in lines[1:]):
        found.setdefault(name.lower(), []).append(value)
    return int(lines[0].split(" ")[1]), found, json.loads(body) if body.startswith(b"{") else None


def check(
    line: str, request: outcome.Request, wanted: outcome.Outcome, got: tuple[int, dict[str, list[str]], Any]
) -> None:
    """The engine's answer is the interpreter's."""
    status, fields, told = got
    if wanted.page:
        assert (told["backend"], told["fields"]["x-code"]) == (wanted.page, [str(wanted.status)]), line
        return
    if wanted.status:
        assert (status, fields.get("location", [""])[0]) == (wanted.status, wanted.location), line
    elif "basic" in wanted.asks:
        assert status == 401, line
        return
    elif (
        (asked := int(request.headers.get("x-wanted-status", "200")))
        and wanted.pages
        and asked in wanted.pages.statuses
    ):
        assert (told["backend"], told["fields"]["x-code"]) == (wanted.pages.backend, [str(asked)]), line
        return
    else:
        assert told["backend"] in dict(wanted.backends), line
        assert (told["uri"], told["host"]) == (wanted.uri, wanted.host), line
        for name, values in wanted.sends.items():
            assert tuple(told["fields"].get(name, ())) == values, (line, name)
    for name, values in wanted.gives.items():
        assert tuple(fields.get(name, ())) == values, (line, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_the_engine_does_what_the_interpreter_says(path: pathlib.Path, plane: engine.EnginePlane) -> None:
    golden = yaml.safe_load(path.read_text())
    made = structure_of(golden)
    ports = {"http": free_ports.free(), "https": free_ports.free()}
    listeners = {
        f"edge-{scheme}": msgspec.structs.replace(made.listeners[f"edge-{scheme}"], sockets=(f"tcp:127.0.0.1:{port}",))
        for scheme, port in ports.items()
    }
    edge = {name: route for name, route in made.routes.items() if set(route.listeners) & listeners.keys()}
    async with backends.Backends() as servers:
        await plane.apply_endpoints([await endpoints(servers, name) for name in made.backends])
        ack = await plane.acked(await plane.apply(msgspec.structs.replace(made, listeners=listeners, routes=edge)))
        assert ack.nacks == ()
        for line in golden["requests"]:
            request = request_of(line)
            wanted = outcome.of(made, f"edge-{request.scheme}", request)
            check(line, request, wanted, await send(request, ports))
