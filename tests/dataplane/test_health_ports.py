"""`healthCheckNodePort`: what outer load balancers are told (Kubernetes' TestHealthCheckNodePort... cases)."""

import asyncio
import json
import socket

import pytest

from fairlead.dataplane import health_ports
from fairlead.routing import settings, table, translate
from fairlead.testing import planes, ports


@pytest.fixture
async def plane():
    made = health_ports.HealthPorts()
    yield made
    await made.close()


def service(port):
    spec = {
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port,
        "clusterIP": "127.96.0.9", "ports": [{"name": "p80", "port": 80}],
    }  # fmt: skip
    return {"metadata": {"namespace": "ns1", "name": "svc1"}, "spec": spec}


def slices(*conditions):
    entries = [
        {"addresses": [f"10.0.1.{n}"], "nodeName": "here", "conditions": one}
        for n, one in enumerate(conditions, start=1)
    ]
    meta = {"namespace": "ns1", "name": "svc1-1", "labels": {"kubernetes.io/service-name": "svc1"}}
    return [{"metadata": meta, "addressType": "IPv4", "ports": [{"name": "p80", "port": 80}], "endpoints": entries}]


async def ask(port, address="127.0.0.1"):
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["localEndpoints"]


READY = {"ready": True, "serving": True, "terminating": False}
TERMINATING = {"ready": False, "serving": True, "terminating": True}


async def test_local_ready_endpoints_are_counted_and_terminating_ones_are_not(plane):
    port = ports.free()
    made = translate.translate(translate.Snapshot(services=[service(port)]), settings.Settings(node="here"))
    await plane.apply_endpoints(translate.all_endpoints(made, slices(READY, READY, {"ready": False})))
    await plane.apply(made.structure)
    assert await ask(port) == (200, 2)
    await plane.apply_endpoints(translate.all_endpoints(made, slices(TERMINATING, TERMINATING)))
    assert await ask(port) == (503, 0)
    await plane.apply(table.Structure())
    with pytest.raises(ConnectionRefusedError):
        await ask(port)


async def test_a_port_that_was_taken_is_there_when_it_is_free_again_whatever_else_changes_or_not():
    port, changes = ports.free(), []
    plane = health_ports.HealthPorts(on_nacks=lambda: changes.append("free"))
    made = translate.translate(translate.Snapshot(services=[service(port)]), settings.Settings(node="here"))
    await plane.apply_endpoints(translate.all_endpoints(made, slices(READY)))
    with socket.create_server(("127.0.0.1", port)):
        assert (await plane.acked(await plane.apply(made.structure))).nacks
    async with asyncio.timeout(10):
        while not changes:
            await asyncio.sleep(0.01)
    assert await ask(port) == (200, 1)
    assert not (await plane.acked(1)).nacks
    await plane.close()


async def test_the_port_is_there_on_each_address_family_as_far_as_it_is_free(plane):
    port = ports.free()
    here = settings.Settings(node="here", network="kernel", localhost=("127.0.0.1", "::1"))
    made = translate.translate(translate.Snapshot(services=[service(port)]), here)
    await plane.apply_endpoints(translate.all_endpoints(made, slices(READY)))
    with socket.socket(socket.AF_INET6) as holder:
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.bind(("::1", port))
        holder.listen()
        (nack,) = (await plane.acked(await plane.apply(made.structure))).nacks
        assert nack.path == "sockets[1]" and f"tcp:[::]:{port} is taken by python" in nack.message
        assert await ask(port) == (200, 1)
    await plane.apply(made.structure)
    assert await ask(port, "::1") == (200, 1)
    assert (await plane.acked(await plane.apply(made.structure))).nacks == ()


async def test_a_taken_port_is_a_nack(plane):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        made = translate.translate(translate.Snapshot(services=[service(port)]), settings.Settings(node="here"))
        (nack,) = (await plane.acked(await plane.apply(made.structure))).nacks
        assert "is taken by python" in nack.message


async def test_it_passes_the_checks_of_every_plane():
    async def make():
        return health_ports.HealthPorts()

    await planes.check_plane(make)
