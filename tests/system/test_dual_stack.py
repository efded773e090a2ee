"""Pods and Services of both address families, in the modes with a pod network: everything is reached by either."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api import kinds
from fairlead.client import errors
from fairlead.node.network import ipv6
from fairlead.testing import worlds
from tests.system import conftest, listing, load, local, test_services

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not ipv6.available(), reason="this kernel has IPv6 switched off"),
]
Object = dict[str, Any]
OUTSIDE = (
    ("198.51.100.1/30", "198.51.100.2/30", ""),
    ("2001:db8:0:5e::1/126", "2001:db8:0:5e::2/126", "nodad"),
)  # addresses for documentation: the node's and the other machine's
MODES = [mode for mode in conftest.MODES if mode != "loopback"]


def deployment() -> Object:
    made = test_services.deployment()
    container = made["spec"]["template"]["spec"]["containers"][0]
    ips = {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}
    container |= {"args": ["dual:8080"], "env": [ips]}
    return made


OBJECTS = (
    deployment(),
    test_services.service("both", ipFamilyPolicy="PreferDualStack", type="NodePort"),
    test_services.service("six", ipFamilies=["IPv6"]),
    test_services.service("four"),
    test_services.service("headless", clusterIP="None", ipFamilyPolicy="RequireDualStack"),
    test_services.service(
        "calls",
        ipFamilyPolicy="RequireDualStack",
        ports=[{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}],
    ),
)


@pytest.fixture(scope="module", params=MODES)
def cluster(request: pytest.FixtureRequest) -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), request.param)
    folder = Path(tempfile.mkdtemp(prefix="fl-dual-"))
    images = {"images": {"netexec": {"command": [sys.executable, str(test_services.APP)]}}}
    (folder / "fairlead.yaml").write_text(yaml.safe_dump(images))
    (folder / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    before = listing.take()
    try:
        made.up(folder)
        yield made
        made.down("--purge")
        assert listing.left(before, listing.take()) == {}
    finally:
        local.remove(made)
        shutil.rmtree(folder)


async def addresses(cluster: local.Local, name: str) -> list[str]:
    async with cluster.client() as client:
        return list((await client.get(kinds.SERVICE, name, namespace="default"))["spec"]["clusterIPs"])


async def pods(cluster: local.Local) -> list[Object]:
    async with cluster.client() as client:
        return list((await client.list(kinds.POD, namespace="default")).items)


async def test_every_address_of_a_service_is_balanced_in_turn(cluster: local.Local) -> None:
    for name, families in (("both", [4, 6]), ("six", [6]), ("calls", [4, 6])):
        own = await addresses(cluster, name)
        assert [6 if ":" in one else 4 for one in own] == families
        for one in own:
            answers = Counter([await test_services.who(cluster, one) for _ in range(9)])
            assert sorted(answers.values()) == [3, 3, 3], (name, one, answers)


async def test_pods_know_both_addresses_and_reach_services_by_either(cluster: local.Local) -> None:
    found = await pods(cluster)
    for pod in found:
        ips = [entry["ip"] for entry in pod["status"]["podIPs"]]
        assert len(ips) == 2 and ips[0] == pod["status"]["podIP"] and ":" in ips[1]
        assert len(pod["status"]["hostIPs"]) == 2
    name = found[0]["metadata"]["name"]
    ips = [entry["ip"] for entry in found[0]["status"]["podIPs"]]
    assert cluster.kubectl("exec", name, "--", "printenv", "IPS").strip() == ",".join(ips)
    ask = "import sys,urllib.request as u; print(*[u.urlopen(f'http://{h}/').read().decode() for h in sys.argv[1:]])"
    hosts = [
        f"[{one}]" if ":" in one else one for service in ("both", "calls") for one in await addresses(cluster, service)
    ]
    said = cluster.kubectl("exec", name, "--", sys.executable, "-c", ask, *hosts, "six", f"[{ips[1]}]:8080").split()
    assert len(said) == 6 and said[-1] == name


async def test_a_pod_that_asks_by_ipv6_finds_names_and_the_api(cluster: local.Local) -> None:
    pod, *_ = await pods(cluster)
    gateway = pod["status"]["hostIPs"][1]["ip"]
    code = "import json,socket,ssl,sys,urllib.request as u; c=ssl._create_unverified_context(); "
    code += "print(socket.getaddrinfo('six', 80)[0][4][0]); "
    code += "[print(json.load(u.urlopen(f'https://{h}/version', context=c))['major']) for h in sys.argv[1:]]"
    api = f"[{gateway}]:{cluster.state.read().api_port}"
    command = [sys.executable, "-c", code, "kubernetes.default", api]
    spec = {
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": [gateway], "searches": ["default.svc.cluster.local", "svc.cluster.local"]},
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "x", "command": command}],
    }
    async with cluster.client() as client:
        await client.create(kinds.POD, {"metadata": {"name": "asks"}, "spec": spec}, namespace="default")
    cluster.kubectl("wait", "pod/asks", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s")
    assert cluster.kubectl("logs", "asks").split() == [*await addresses(cluster, "six"), "1", "1"]
    cluster.kubectl("delete", "pod", "asks", "--force")


async def test_names_have_the_addresses_of_both_families(cluster: local.Local) -> None:
    def resolve(name: str, kind: str) -> set[str]:
        words = cluster.fairlead("resolve", "--name", cluster.name, "-t", kind, name, check=False).stdout.split()
        return {word for word in words if (":" in word if kind == "AAAA" else word.count(".") == 3)}

    for name in ("both", "six"):
        own = await addresses(cluster, name)
        assert resolve(name, "AAAA") == {one for one in own if ":" in one}
        assert resolve(name, "A") == {one for one in own if ":" not in one}
    ips = [[entry["ip"] for entry in pod["status"]["podIPs"]] for pod in await pods(cluster)]
    assert resolve("headless", "A") == {first for first, _ in ips}
    assert resolve("headless", "AAAA") == {six for _, six in ips}


async def test_addresses_have_names_and_status_tells_all_of_them(cluster: local.Local) -> None:
    shown = cluster.fairlead("status", "--name", cluster.name).stdout
    for one in await addresses(cluster, "both"):
        said = cluster.fairlead("resolve", "--name", cluster.name, one).stdout
        assert "PTR both.default.svc.cluster.local." in said
        assert f"http://{f'[{one}]' if ':' in one else one}/   default/both" in shown
    pod, *_ = await pods(cluster)
    six = pod["status"]["podIPs"][1]["ip"]
    assert ".headless.default.svc.cluster.local." in cluster.fairlead("resolve", "--name", cluster.name, six).stdout


@pytest.fixture
def outside(cluster: local.Local) -> Iterator[worlds.Space]:
    """Another machine, which knows this one by the link between them and knows nothing of pods."""
    if cluster.network != "kernel":
        pytest.skip("pasta or slirp4netns has the way out of rootless mode")
    link = f"fo{secrets.token_hex(3)}"
    space = worlds.Space(link)
    servers = []
    try:
        worlds.run(f"ip link add {link} type veth peer name eth0 netns {link}", f"ip link set {link} up")
        space.ip("link set eth0 up")
        for here, there, flags in OUTSIDE:
            worlds.run(f"ip addr add {here} dev {link} {flags}")
            space.ip(f"addr add {there} dev eth0 {flags}")
            servers.append(space.call(worlds.server, there.partition("/")[0], worlds.PORT, socket.SOCK_STREAM))
        yield space
    finally:
        for one in servers:
            one.shutdown(socket.SHUT_RDWR)
            one.close()
        worlds.run(f"ip link del {link}", f"ip netns del {link}")


async def test_pods_reach_another_machine_as_the_node(cluster: local.Local, outside: worlds.Space) -> None:
    """Of each family; that machine has no way back to pods' addresses, so nothing would come back as it is."""
    pod, *_ = await pods(cluster)
    code = "import socket,sys; [print(socket.create_connection((h, 8080), 5).recv(99).decode()) for h in sys.argv[1:]]"
    hosts = [there.partition("/")[0] for _, there, _ in OUTSIDE]
    said = cluster.kubectl("exec", pod["metadata"]["name"], "--", sys.executable, "-c", code, *hosts).splitlines()
    assert [line.split()[2] for line in said if line] == [here.partition("/")[0] for here, _, _ in OUTSIDE]
    assert outside.exec("ip -6 route show default") == ""


async def test_a_node_port_is_there_on_both_loopback_addresses(cluster: local.Local) -> None:
    async with cluster.client() as client:
        port = (await client.get(kinds.SERVICE, "both", namespace="default"))["spec"]["ports"][0]["nodePort"]
    for host in ("127.0.0.1", "::1"):
        connection = load.Connection(host, port)
        assert (await connection.get("/"))[0] == 200
        connection.close()


async def test_slices_are_of_each_family_and_endpoints_of_the_first(cluster: local.Local) -> None:
    async with cluster.client() as client:
        found = (await client.list(kinds.ENDPOINT_SLICE, namespace="default")).items
        types = {
            name: sorted(one["addressType"] for one in found if one["metadata"]["name"].startswith(f"{name}-"))
            for name in ("both", "six", "four")
        }
        assert types == {"both": ["IPv4", "IPv6"], "six": ["IPv6"], "four": ["IPv4"]}


async def test_a_policy_adds_the_second_address_and_takes_it(cluster: local.Local) -> None:
    (first,) = await addresses(cluster, "four")
    async with cluster.client() as client:

        async def patched(**spec: Any) -> list[str]:
            answer = await client.patch(kinds.SERVICE, "four", {"spec": spec}, namespace="default")
            return list(answer["spec"]["clusterIPs"])

        both = await patched(ipFamilyPolicy="RequireDualStack")
        assert both[0] == first and ":" in both[1]

        async def answers() -> bool:
            try:
                return bool(await test_services.who(cluster, both[1]))
            except OSError:
                return False

        await test_services.until(answers)
        with pytest.raises(errors.ApiError, match="may not change once set"):
            await patched(ipFamilies=["IPv6", "IPv4"], clusterIP=both[1], clusterIPs=both[::-1])
        assert await patched(ipFamilyPolicy="SingleStack") == [first]


async def test_a_rollout_fails_no_request_by_ipv6(cluster: local.Local) -> None:
    (address,) = await addresses(cluster, "six")
    async with load.Load(address, 80, rate=100, network=cluster.within) as running:
        await running.reaches(30)
        cluster.kubectl("rollout", "restart", "deployment/net")
        await asyncio.to_thread(cluster.kubectl, "rollout", "status", "deployment/net", "--timeout=60s")
        await running.reaches(50)
    assert running.outcome.all_ok(), running.outcome.failures[:5]


async def test_the_addresses_outlive_a_killed_control_plane(cluster: local.Local) -> None:
    async def only_new_ones() -> list[Object] | None:
        found = await pods(cluster)
        return found if len(found) == 3 else None

    running_pods = await test_services.until(only_new_ones, 40)
    before = {pod["metadata"]["uid"]: pod["status"]["podIPs"] for pod in running_pods}
    own = await addresses(cluster, "both")
    async with load.Load(own[1], 80, rate=50, network=cluster.within) as running:
        await running.reaches(20)
        os.kill(cluster.state.holder(), signal.SIGKILL)
        await asyncio.to_thread(cluster.up)
        await running.reaches(50)
    assert running.outcome.all_ok(), running.outcome.failures[:5]
    assert {pod["metadata"]["uid"]: pod["status"]["podIPs"] for pod in await pods(cluster)} == before
    assert await addresses(cluster, "both") == own


def test_the_loopback_mode_has_one_family() -> None:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "loopback")
    try:
        made.up()
        refused = made.kubectl(
            "apply", "-f", "-", stdin=yaml.safe_dump(test_services.service("six", ipFamilies=["IPv6"])), check=False
        )
        assert "not configured on this cluster" in refused
    finally:
        local.remove(made)
