"""The traffic loop over an API server in memory and a plane that carries nothing."""

import asyncio
import contextlib
import random

import pytest

from fairlead.api import kinds
from fairlead.base import clock
from fairlead.client import events, informers
from fairlead.controllers import traffic
from fairlead.dataplane import coordinator
from fairlead.dataplane.plane import Nack
from fairlead.routing import settings
from fairlead.testing import apiserver, planes

SERVICE = {
    "metadata": {"namespace": "default", "name": "web"},
    "spec": {"clusterIP": "127.96.0.10", "ports": [{"port": 80, "targetPort": 8080}]},
}
INGRESS = {
    "metadata": {"namespace": "default", "name": "web"},
    "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
}
WEB, HTTP = "default/web:80", "default/web:80/http"


def slice_of(*addresses, name="web-1", ready=True):
    return {
        "metadata": {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
    }


class Bench:
    """A cluster without pods."""

    def __init__(self):
        self.clock = clock.SystemClock()
        self.server = apiserver.FakeApiServer(clock=self.clock)
        self.client = self.server.client()
        self.failures = []
        fail = lambda *failure: self.failures.append(failure)  # noqa: E731
        self.informers = informers.Informers(self.client, clock=self.clock, rng=random.Random(1), on_failure=fail)
        self.recorder = events.Recorder(self.client, component="traffic", clock=self.clock, on_failure=fail)
        self.plane = planes.FakePlane()
        self.sink = coordinator.Coordinator([self.plane], clock=self.clock, on_failure=fail)
        self.fail = fail
        self.traffic = self.made_traffic()

    def made_traffic(self, **where):
        return traffic.Traffic(
            self.client,
            self.informers,
            where=settings.Settings(**where),
            sink=self.sink,
            recorder=self.recorder,
            clock=self.clock,
            on_failure=self.fail,
        )

    async def start(self):
        await self.traffic.start()
        self.informers.start()
        self.recorder.start()

    async def close(self):
        for one in (self.traffic, self.informers, self.recorder, self.sink):
            await one.close()

    async def create(self, kind, obj):
        return await self.client.create(kind, obj, namespace="default")

    async def until(self, condition):
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(KeyError):
                    found = condition()
                    if asyncio.iscoroutine(found):
                        found = await found
                    if found:
                        return found
                await asyncio.sleep(0)

    async def told(self):
        """The Events, as (kind, reason, message)."""
        await self.recorder.flushed()
        found = (await self.client.list(kinds.EVENT)).items
        return [(e["involvedObject"]["kind"], e["reason"], e["message"]) for e in found]


@pytest.fixture
async def bench():
    made = Bench()
    yield made
    await made.close()
    assert not made.failures


async def test_nothing_is_sent_before_everything_is_known(bench):
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.create(kinds.ENDPOINT_SLICE, slice_of("127.244.0.2"))
    await bench.start()
    await bench.until(lambda: bench.plane.structure.backends)
    assert list(bench.plane.structure.backends) == [WEB]
    assert bench.plane.addresses(WEB) == ["127.244.0.2:8080"]


async def test_a_slice_reaches_the_plane_without_a_translation(bench):
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.start()
    await bench.until(lambda: bench.plane.structure.backends)
    structure = bench.plane.structure
    await bench.create(kinds.ENDPOINT_SLICE, slice_of("127.244.0.2", "127.244.0.3"))
    await bench.until(lambda: len(bench.plane.addresses(WEB)) == 2)
    await bench.client.delete(kinds.ENDPOINT_SLICE, "web-1", namespace="default")
    await bench.until(lambda: bench.plane.addresses(WEB) == [])
    assert bench.plane.structure is structure


async def test_the_nodes_zone_decides_what_is_near_and_is_followed(bench):
    """Hints of two zones: the kernel's endpoints are those of the zone that the Node says it is in, now."""
    zone = "topology.kubernetes.io/zone"
    node = {"metadata": {"name": "localhost", "labels": {zone: "a"}}}
    await bench.client.create(kinds.NODE, node)
    http = {"port": 80, "targetPort": 8080, "appProtocol": "http", "name": "http"}
    spec = {**SERVICE["spec"], "trafficDistribution": "PreferClose", "ports": [{"port": 81, "name": ""}, http]}
    await bench.create(kinds.SERVICE, {**SERVICE, "spec": spec})
    one = slice_of("10.0.0.1", "10.0.0.2")
    one["ports"].append({"name": "http", "port": 8080, "protocol": "TCP"})
    for endpoint, name in zip(one["endpoints"], "ab", strict=True):
        endpoint |= {"zone": name, "hints": {"forZones": [{"name": name}]}}
    await bench.create(kinds.ENDPOINT_SLICE, one)
    bench.traffic = bench.made_traffic(network="kernel")
    await bench.start()
    await bench.until(lambda: bench.plane.addresses("default/web:81") == ["10.0.0.1:8080"])
    assert bench.plane.structure.backends["default/web:http/http"].zone == "a"
    await bench.client.patch(kinds.NODE, "localhost", {"metadata": {"labels": {zone: "b"}}})
    await bench.until(lambda: bench.plane.addresses("default/web:81") == ["10.0.0.2:8080"])
    await bench.until(lambda: bench.plane.structure.backends["default/web:http/http"].zone == "b")
    await bench.client.patch(kinds.NODE, "localhost", {"metadata": {"labels": {zone: None}}})
    await bench.until(lambda: len(bench.plane.addresses("default/web:81")) == 2)


async def test_several_slices_are_one_set(bench):
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.start()
    await bench.create(kinds.ENDPOINT_SLICE, slice_of("127.244.0.2"))
    await bench.create(kinds.ENDPOINT_SLICE, slice_of("127.244.0.3", name="web-2"))
    await bench.until(lambda: len(bench.plane.addresses(WEB)) == 2)


async def test_a_service_that_comes_after_its_slice_has_its_endpoints(bench):
    await bench.start()
    await bench.create(kinds.ENDPOINT_SLICE, slice_of("127.244.0.2"))
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.create(kinds.INGRESS, INGRESS)
    await bench.until(lambda: bench.plane.addresses(HTTP) == ["127.244.0.2:8080"])


async def test_an_ingress_says_its_address_when_the_plane_carries_it(bench):
    bench.plane.hold_acks()
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.create(kinds.INGRESS, INGRESS)
    await bench.start()
    await bench.until(lambda: bench.plane.structure.routes)
    read = await bench.client.get(kinds.INGRESS, "web", namespace="default")
    assert "status" not in read
    bench.plane.hold_acks(False)

    async def published():
        found = await bench.client.get(kinds.INGRESS, "web", namespace="default")
        return (found.get("status") or {}).get("loadBalancer")

    told = await bench.until(published)
    assert told["ingress"] == [{"ip": "127.0.0.1", "ports": [{"port": 8080, "protocol": "TCP"}]}]


async def test_a_load_balancer_has_an_address_at_once(bench):
    spec = {**SERVICE["spec"], "type": "LoadBalancer"}
    await bench.create(kinds.SERVICE, {**SERVICE, "spec": {**spec, "ports": [{"port": 9090}]}})
    await bench.start()

    async def address():
        found = await bench.client.get(kinds.SERVICE, "web", namespace="default")
        return (found.get("status") or {}).get("loadBalancer")

    assert (await bench.until(address))["ingress"][0]["ip"] == "127.0.0.1"


async def test_a_load_balancer_whose_port_is_taken_has_the_services_own_address(bench):
    bench.plane.nacks = (
        Nack("listener/service/default/web/9090/load-balancer", "sockets[0]", "taken by nginx (pid 1)"),
    )
    spec = {**SERVICE["spec"], "type": "LoadBalancer", "ports": [{"port": 9090}]}
    await bench.create(kinds.SERVICE, {**SERVICE, "spec": spec})
    await bench.start()

    async def address():
        found = await bench.client.get(kinds.SERVICE, "web", namespace="default")
        entries = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}]
        return entries[0].get("ip")

    await bench.until(address)
    async with asyncio.timeout(5):
        while await address() != "127.96.0.10":
            await asyncio.sleep(0)
    bench.plane.nacks = ()
    bench.traffic.retranslate()
    async with asyncio.timeout(5):
        while await address() != "127.0.0.1":
            await asyncio.sleep(0)


async def test_a_mistake_is_one_event_and_goes_when_it_is_mended(bench):
    await bench.create(kinds.INGRESS, INGRESS)
    await bench.start()
    await bench.until(bench.told)
    assert [(kind, reason) for kind, reason, _ in await bench.told()] == [("Ingress", "BackendNotFound")]
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.until(lambda: not bench.traffic.problems)
    assert len(await bench.told()) == 1


async def test_what_a_plane_refuses_is_told_on_the_object_it_comes_from(bench):
    bench.plane.nacks = (
        Nack("listener/service/default/web/80", "sockets[0]", "tcp:127.96.0.10:8080 is taken by nginx (pid 1)"),
    )
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.start()
    await bench.until(bench.told)
    assert await bench.told() == [
        ("Service", "NotProgrammed", "spec.ports[80]: tcp:127.96.0.10:8080 is taken by nginx (pid 1)")
    ]


async def test_a_burst_of_changes_is_few_translations(bench):
    await bench.start()
    await bench.until(lambda: bench.plane.structure.listeners)
    before = bench.plane._sequence
    for number in range(50):
        port = [{"port": 8000 + number}]
        spec = {"clusterIP": f"127.96.1.{number}", "ports": port}
        await bench.create(kinds.SERVICE, {"metadata": {"namespace": "default", "name": f"s{number}"}, "spec": spec})
    await bench.until(lambda: len(bench.plane.structure.backends) == 50)
    assert bench.plane._sequence - before < 160


async def test_many_services_are_translated_beside_the_loop(bench):
    for number in range(traffic.IN_THE_LOOP + 20):
        spec = {"clusterIP": f"127.96.2.{number}", "ports": [{"port": 8000}]}
        await bench.create(kinds.SERVICE, {"metadata": {"namespace": "default", "name": f"s{number}"}, "spec": spec})
    await bench.start()
    await bench.until(lambda: len(bench.plane.structure.backends) == traffic.IN_THE_LOOP + 20)


class Stumbling(planes.FakePlane):
    """A plane with a bug that shows once at each of its doors."""

    def __init__(self):
        super().__init__()
        self.stumbles = {"apply", "apply_endpoints", "acked"}

    def stumble(self, door):
        if door in self.stumbles:
            self.stumbles.remove(door)
            raise KeyError(door)

    async def apply(self, structure):
        self.stumble("apply")
        return await super().apply(structure)

    async def apply_endpoints(self, delta):
        self.stumble("apply_endpoints")
        return await super().apply_endpoints(delta)

    async def acked(self, sequence):
        self.stumble("acked")
        return await super().acked(sequence)


async def test_a_bug_is_told_and_traffic_follows_the_cluster_all_the_same(bench):
    bench.plane = Stumbling()
    bench.sink = coordinator.Coordinator([bench.plane], clock=bench.clock, on_failure=bench.fail)
    bench.traffic = bench.made_traffic()
    await bench.create(kinds.SERVICE, SERVICE)
    await bench.create(kinds.INGRESS, INGRESS)
    await bench.create(kinds.ENDPOINT_SLICE, slice_of("127.244.0.2"))
    await bench.start()
    await bench.until(lambda: bench.plane.addresses(HTTP) == ["127.244.0.2:8080"])
    await bench.create(kinds.ENDPOINT_SLICE, slice_of("127.244.0.3", name="web-2"))
    await bench.until(lambda: len(bench.plane.addresses(HTTP)) == 2)

    async def published():
        found = await bench.client.get(kinds.INGRESS, "web", namespace="default")
        return found.get("status", {}).get("loadBalancer", {}).get("ingress")

    await bench.until(published)
    assert not bench.plane.stumbles
    assert {where for where, _ in bench.failures} == {"traffic/structure", "traffic/acks"}
    bench.failures.clear()
