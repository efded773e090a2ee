"""A Service's names, from the manifests to the answers of the real engine (Kubernetes' DNS specification 1.1.0)."""

import asyncio
import pathlib
import socket
import struct

import pytest
import yaml

from fairlead.base import clock
from fairlead.dataplane import engine, spawn
from fairlead.routing import settings, table, translate

try:
    BINARY = spawn.find_binary()
except spawn.EngineMissing:
    BINARY = ""
pytestmark = [pytest.mark.system, pytest.mark.skipif(not BINARY, reason="no fairlead-engine was built")]
GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "routing" / "names.yaml"
A, CNAME, AAAA, SRV = 1, 5, 28, 33
NXDOMAIN = 3


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def decoded(message, at):
    """(name, where it ends)."""
    labels, end = [], 0
    while message[at]:
        if message[at] >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", message, at)[0] & 0x3FFF
            continue
        labels.append(message[at + 1 : at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels), end or at + 1


def ask(port, name, kind=A, *, stream=False):
    """(response code, answers): addresses, names, or (priority, weight, port, target)."""
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + encoded(name) + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as asking:
        asking.settimeout(3)
        asking.connect(("127.0.0.1", port))
        asking.sendall(struct.pack(">H", len(query)) + query if stream else query)
        message = asking.recv(4096)[2 if stream else 0 :]
    _, flags, _, count, _, _ = struct.unpack_from(">HHHHHH", message)
    at = decoded(message, 12)[1] + 4
    answers = []
    for _ in range(count):
        at = decoded(message, at)[1]
        of, _, _, size = struct.unpack_from(">HHIH", message, at)
        at += 10
        if of in (A, AAAA):
            answers.append(socket.inet_ntop(socket.AF_INET if of == A else socket.AF_INET6, message[at : at + size]))
        elif of == CNAME:
            answers.append(decoded(message, at)[0])
        elif of == SRV:
            answers.append((*struct.unpack_from(">HHH", message, at), decoded(message, at + 6)[0]))
        at += size
    return flags & 15, answers


@pytest.fixture
async def dns(folder, failures):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    objects = yaml.safe_load(GOLDEN.read_text())["objects"]
    services = [one for one in objects if one["kind"] == "Service"]
    slices = [one for one in objects if one["kind"] == "EndpointSlice"]
    doors = (f"udp:127.0.0.1:{port}", f"tcp:127.0.0.1:{port}")
    translation = translate.translate(translate.Snapshot(services=services), settings.Settings(dns=doors))
    only = table.Structure(
        listeners={"dns": translation.structure.listeners["dns"]},
        backends=translation.structure.backends,
        names=translation.structure.names,
    )
    plane = engine.EnginePlane(
        str(folder / "engine.sock"),
        clock=clock.SystemClock(),
        on_failure=lambda *failure: failures.append(failure),
        binary=BINARY,
        log_path=str(folder / "engine.log"),
    )
    await plane.start()
    await plane.apply_endpoints(translate.all_endpoints(translation, slices))
    async with asyncio.timeout(10):
        assert (await plane.acked(await plane.apply(only))).nacks == ()
    plane.translation = translation
    yield plane, port
    async with asyncio.timeout(10):
        await plane.shutdown(grace_seconds=0)
    await plane.close()


ZONE = "svc.cluster.local"
CASES = [
    (f"web.default.{ZONE}", A, ["10.96.0.10"]),
    (f"web.default.{ZONE}", AAAA, ["fd00:96::10"]),
    (f"_http._tcp.web.default.{ZONE}", SRV, [(0, 100, 80, f"web.default.{ZONE}")]),
    (f"db.default.{ZONE}", A, ["10.244.0.2"]),
    (f"db-0.db.default.{ZONE}", A, ["10.244.0.2"]),
    (f"peers.default.{ZONE}", A, ["10.244.0.3"]),
    (f"outside.default.{ZONE}", CNAME, ["example.com"]),
]


async def test_names_are_answered(dns):
    _, port = dns
    for name, kind, expected in CASES:
        assert await asyncio.to_thread(ask, port, name, kind) == (0, expected), name
    assert await asyncio.to_thread(ask, port, f"web.default.{ZONE}", stream=True) == (0, ["10.96.0.10"])
    code, answers = await asyncio.to_thread(ask, port, f"_sql._tcp.db.default.{ZONE}", SRV)
    assert (code, [answer[2] for answer in answers]) == (0, [5432])
    assert await asyncio.to_thread(ask, port, answers[0][3]) == (0, ["10.244.0.2"])


async def test_what_is_not_there_does_not_exist(dns):
    _, port = dns
    assert await asyncio.to_thread(ask, port, f"nobody.default.{ZONE}") == (NXDOMAIN, [])


async def test_answers_change_with_the_endpoints_at_once(dns):
    plane, port = dns
    endpoint = table.Endpoint(address="10.244.0.9", port=5432, name="default/db-1")
    sent = await plane.apply_endpoints([table.BackendEndpoints(backend="default/db:sql", endpoints=(endpoint,))])
    await plane.acked(sent)
    assert await asyncio.to_thread(ask, port, f"db.default.{ZONE}") == (0, ["10.244.0.9"])
