"""Clusters of IPv6 alone, and of both families with IPv6 first: all that a cluster of IPv4 does."""

from __future__ import annotations

import asyncio
import functools
import http.client
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api import kinds
from fairlead.node.network import ipv6
from fairlead.testing import ports as free_ports
from tests.system import conftest, listing, load, local, test_services

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not ipv6.available(), reason="this kernel has IPv6 switched off"),
]
Object = dict[str, Any]
MODES = [mode for mode in conftest.MODES if mode != "loopback"]
SERVE = "import http.server as h,os,socket; h.HTTPServer.address_family=socket.AF_INET6; "
SERVE += "h.HTTPServer((os.environ['HOST'],8080),h.SimpleHTTPRequestHandler).serve_forever()"
ASK = """
import json, os, ssl, sys, urllib.request as u
known = ssl.create_default_context(cafile=sys.argv[1])
version = json.load(u.urlopen("https://kubernetes.default/version", context=known))["gitVersion"]
host = os.environ["KUBERNETES_SERVICE_HOST"]
u.urlopen(f"https://[{host}]:443/version" if ":" in host else f"https://{host}/version", context=known)
print(version, *[u.urlopen(f"http://{one}/").read().decode() for one in sys.argv[2:]])
"""


def deployment() -> Object:
    made = test_services.deployment()
    container = made["spec"]["template"]["spec"]["containers"][0]
    stop = {"preStop": {"httpGet": {"path": "/stop", "port": "http"}}}
    container |= {"args": ["dual:8080", "dualudp:8081"], "lifecycle": stop}
    return made


def host_port(port: int) -> Object:
    ports = [{"containerPort": 8080, "hostPort": port}]
    container = {"name": "c", "image": "x", "command": [sys.executable, "-c", SERVE], "ports": ports}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hosted"}, "spec": {"containers": [container]}}


INGRESS = {
    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "edge"},
    "spec": {"ingressClassName": "fairlead", "defaultBackend": {"service": {"name": "plain", "port": {"number": 80}}}},
}  # fmt: skip
CALLS = [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}]
OBJECTS = (
    deployment(),
    test_services.service("plain", type="NodePort"),
    test_services.service("calls", ports=CALLS),
    test_services.service("headless", clusterIP="None"),
    test_services.service("datagrams", ports=test_services.DATAGRAMS),
    test_services.service("sticky", sessionAffinity="ClientIP"),
    INGRESS,
)


@contextmanager
def running(mode: str, family: str, *objects: Object) -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), mode)
    folder = Path(tempfile.mkdtemp(prefix="fl-six-"))
    images = {"images": {"netexec": {"command": [sys.executable, str(test_services.APP)]}}}
    (folder / "fairlead.yaml").write_text(yaml.safe_dump(images))
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    try:
        made.up("--ip-family", family, folder)
        yield made
    finally:
        local.remove(made)
        shutil.rmtree(folder)


HOST_PORT = free_ports.free()


@pytest.fixture(scope="module", params=MODES)
def cluster(request: pytest.FixtureRequest) -> Iterator[local.Local]:
    before = listing.take()
    with running(request.param, "ipv6", *OBJECTS, host_port(HOST_PORT)) as made:
        yield made
        made.down("--purge")
        assert listing.left(before, listing.take()) == {}


def status(host: str, port: int) -> int:
    """What is answered there; 0 while nobody is."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    with closing(connection), suppress(ConnectionError):
        connection.request("GET", "/")
        return connection.getresponse().status
    return 0


async def address(cluster: local.Local, name: str) -> str:
    async with cluster.client() as client:
        spec = (await client.get(kinds.SERVICE, name, namespace="default"))["spec"]
        assert spec["ipFamilies"] == ["IPv6"] and spec["clusterIPs"] == [spec["clusterIP"]]
        return str(spec["clusterIP"])


async def a_pod(cluster: local.Local) -> Object:
    return (await pods(cluster))[0]


async def pods(cluster: local.Local) -> list[Object]:
    """Those of the Deployment."""
    async with cluster.client() as client:
        found = (await client.list(kinds.POD, namespace="default")).items
        return [one for one in found if one["metadata"]["name"].startswith("net-")]


def ask(cluster: local.Local, pod: str, *hosts: str) -> list[str]:
    authority = str(cluster.state.pki / "ca.crt")
    shown = Path(authority).read_text()
    code = f"import tempfile; f = tempfile.NamedTemporaryFile('w'); f.write({shown!r}); f.flush()\n"
    code += "import sys; sys.argv.insert(1, f.name)\n" + ASK
    return cluster.kubectl("exec", pod, "--", sys.executable, "-c", code, *hosts).split()


async def test_every_address_that_objects_tell_is_ipv6(cluster: local.Local) -> None:
    pod = await a_pod(cluster)
    told = pod["status"]
    assert told["podIPs"] == [{"ip": told["podIP"]}] and told["hostIPs"] == [{"ip": told["hostIP"]}]
    assert ":" in told["podIP"] and ":" in told["hostIP"]
    async with cluster.client() as client:
        (node,) = (await client.list(kinds.NODE)).items
        assert [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"] == [
            told["hostIP"]
        ]
        slices = (await client.list(kinds.ENDPOINT_SLICE, namespace="default")).items
        assert {one["addressType"] for one in slices} == {"IPv6"}
        assert {one["metadata"]["labels"]["kubernetes.io/service-name"] for one in slices} == {
            "kubernetes", "plain", "calls", "headless", "datagrams", "sticky",
        }  # fmt: skip
        endpoints = await client.get(kinds.ENDPOINTS, "kubernetes", namespace="default")
        assert endpoints["subsets"][0]["addresses"] == [{"ip": told["hostIP"]}]
        for policy in ("RequireDualStack", "SingleStack"):
            refused = test_services.service("four", ipFamilyPolicy=policy, ipFamilies=["IPv4"])
            said = cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(refused), check=False)
            assert "not configured" in said
    assert (await address(cluster, "kubernetes")).endswith("::1")


async def test_a_service_is_balanced_in_turn_from_the_node_and_found_by_name_from_a_pod(cluster: local.Local) -> None:
    for name in ("plain", "calls"):
        own = await address(cluster, name)
        answers = Counter([await test_services.who(cluster, own) for _ in range(9)])
        assert sorted(answers.values()) == [3, 3, 3], (name, answers)
    pod = await a_pod(cluster)
    said = await asyncio.to_thread(ask, cluster, pod["metadata"]["name"], "plain", "calls.default", "headless:8080")
    assert said[0].startswith("v1.") and len(said) == 4
    resolv = cluster.kubectl("exec", pod["metadata"]["name"], "--", "cat", "/etc/resolv.conf")
    assert f"nameserver {pod['status']['hostIP']}\n" in resolv and resolv.count("nameserver") == 1


async def test_names_are_resolved_from_a_shell(cluster: local.Local) -> None:
    own = await address(cluster, "plain")
    assert own in cluster.fairlead("resolve", "--name", cluster.name, "plain").stdout
    assert "no A record" in cluster.fairlead("resolve", "--name", cluster.name, "-t", "A", "plain", check=False).stderr
    assert cluster.fairlead("curl", "--name", cluster.name, "-s", "http://plain/").stdout.startswith("net-")


async def test_doors_of_the_machine_lead_to_pods_that_have_no_ipv4(cluster: local.Local) -> None:
    async with cluster.client() as client:
        spec = (await client.get(kinds.SERVICE, "plain", namespace="default"))["spec"]
    for host in ("127.0.0.1", "::1"):
        for port in (spec["ports"][0]["nodePort"], HOST_PORT):
            await test_services.becomes(functools.partial(status, host, port), 200)
    await test_services.becomes(functools.partial(status, "127.0.0.1", cluster.edge_port), 200)


async def test_a_rollout_fails_no_request_and_its_hooks_are_answered(cluster: local.Local) -> None:
    async with load.Load(await address(cluster, "plain"), 80, rate=100, network=cluster.within) as sent:
        await sent.reaches(30)
        cluster.kubectl("rollout", "restart", "deployment/net")
        await asyncio.to_thread(cluster.kubectl, "rollout", "status", "deployment/net", "--timeout=60s")
        await sent.reaches(50)
    assert sent.outcome.all_ok(), sent.outcome.failures[:5]
    assert "Failed" not in cluster.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")


async def test_a_client_on_one_udp_socket_is_answered_again_within_a_second(cluster: local.Local) -> None:
    async with cluster.client() as client:
        await test_services.is_answered_again(cluster, client, await address(cluster, "datagrams"))


async def test_the_next_life_is_of_the_same_family_and_another_is_refused(cluster: local.Local) -> None:
    async def only_new_ones() -> list[Object] | None:
        found = await pods(cluster)
        return found if len(found) == 3 else None

    own, before = await address(cluster, "plain"), await test_services.until(only_new_ones, 40)
    sticky = await address(cluster, "sticky")
    kept_by = await test_services.who(cluster, sticky)
    assert {await test_services.who(cluster, sticky) for _ in range(6)} == {kept_by}
    os.kill(cluster.state.holder(), signal.SIGKILL)
    refused = cluster.up("--ip-family", "dual", check=False)
    assert "IPv6 first" in refused.stderr
    cluster.up()
    assert await address(cluster, "plain") == own
    assert (await test_services.who(cluster, own)).startswith("net-")
    assert {await test_services.who(cluster, sticky) for _ in range(6)} == {kept_by}
    kept = {one["metadata"]["uid"]: one["status"]["podIPs"] for one in await pods(cluster)}
    assert kept == {one["metadata"]["uid"]: one["status"]["podIPs"] for one in before}


@pytest.mark.skipif("kernel" not in MODES, reason="a pod network of the machine's own needs root")
async def test_with_ipv6_first_it_is_the_default_and_ipv4_comes_second() -> None:
    both = test_services.service("both", ipFamilyPolicy="PreferDualStack")
    with running("kernel", "ipv6,ipv4", deployment(), both, test_services.service("plain")) as cluster:
        pod = await a_pod(cluster)
        ips = [one["ip"] for one in pod["status"]["podIPs"]]
        assert [":" in one for one in ips] == [True, False] and pod["status"]["podIP"] == ips[0]
        assert ":" in await address(cluster, "plain") and ":" in await address(cluster, "kubernetes")
        async with cluster.client() as client:
            spec = (await client.get(kinds.SERVICE, "both", namespace="default"))["spec"]
        assert spec["ipFamilies"] == ["IPv6", "IPv4"]
        for own in spec["clusterIPs"]:
            assert (await test_services.who(cluster, own)).startswith("net-")
        said = await asyncio.to_thread(ask, cluster, pod["metadata"]["name"], "both", "plain", spec["clusterIPs"][1])
        assert len(said) == 4


def test_loopback_mode_says_why_it_cannot() -> None:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "loopback")
    try:
        refused = made.up("--ip-family", "ipv6", check=False)
        assert refused.returncode and "IPv6 has one loopback address (::1)" in refused.stderr
    finally:
        local.remove(made)
