"""What Services promise, with the real command line, in every network mode: over restarts, while pods go."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from fairlead.api import kinds
from fairlead.client import protocol
from fairlead.node.network import ipv6, netlink
from fairlead.testing import ports as free_ports
from fairlead.testing import worlds
from tests.node import engines
from tests.system import conftest, load, local

pytestmark = pytest.mark.system
APP = Path(__file__).parent / "apps" / "netexec.py"
Object = dict[str, Any]
LOCALHOST = ("127.0.0.1", "::1") if ipv6.available() else ("127.0.0.1",)


def deployment(replicas: int = 3) -> Object:
    ports = [{"name": "http", "containerPort": 8080}, {"name": "udp", "containerPort": 8081, "protocol": "UDP"}]
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
    container = {
        "name": "c", "image": "netexec", "args": ["http:8080", "udp:8081"], "ports": ports, "readinessProbe": probe,
    }  # fmt: skip
    template = {"metadata": {"labels": {"app": "net"}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": "net"}}
    spec = {"replicas": replicas, "selector": selector, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "net"}, "spec": spec}


def service(name: str, **spec: Any) -> Object:
    wanted = {"selector": {"app": "net"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": wanted}


DATAGRAMS = [{"name": "udp", "port": 81, "targetPort": "udp", "protocol": "UDP"}]
OBJECTS = (
    deployment(),
    service("datagrams", ports=DATAGRAMS),
    service("sticky", sessionAffinity="ClientIP"),
    service("nobody", selector={"app": "nobody"}),
)


@pytest.fixture(scope="module", params=conftest.MODES)
def cluster(request: pytest.FixtureRequest) -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), request.param)
    folder = Path(tempfile.mkdtemp(prefix="fl-svc-"))
    images = {"images": {"netexec": {"command": [sys.executable, str(APP)]}}}
    (folder / "fairlead.yaml").write_text(yaml.safe_dump(images))
    (folder / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    try:
        made.up(folder)
        yield made
    finally:
        local.remove(made)
        shutil.rmtree(folder)


@pytest.fixture
async def client(cluster: local.Local) -> AsyncIterator[protocol.Client]:
    async with cluster.client() as made:
        yield made


async def address(client: protocol.Client, name: str) -> str:
    return str((await client.get(kinds.SERVICE, name, namespace="default"))["spec"]["clusterIP"])


async def until(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `check` says, once that is something."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        assert time.monotonic() < end
        await asyncio.sleep(0)


async def becomes(ask: Callable[[], Any], wanted: Any, seconds: float = 10.0) -> None:
    """Returns when that is the answer; asked by a thread, so that our loop is not what everybody waits for."""
    end = time.monotonic() + seconds
    while (said := await asyncio.to_thread(ask)) != wanted:
        assert time.monotonic() < end, said


async def who(cluster: local.Local, host: str, port: int = 80) -> str:
    """The name of the pod that answers on a new connection."""
    connection = load.Connection(host, port, network=cluster.within)
    try:
        return (await connection.get("/"))[1]
    finally:
        connection.close()


# -- while pods go


def datagrams(cluster: local.Local, host: str) -> socket.socket:
    with netlink.visiting(cluster.within) if cluster.within else contextlib.nullcontext():
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(0.02)
    return made


async def test_a_client_on_one_udp_socket_is_answered_again_within_a_second_of_its_pods_end(
    cluster: local.Local, client: protocol.Client
) -> None:
    await is_answered_again(cluster, client, await address(client, "datagrams"))


async def is_answered_again(cluster: local.Local, client: protocol.Client, host: str) -> None:
    """Within a second of the end of the pod that answers datagrams there."""
    asking = datagrams(cluster, host)

    def ask() -> str:
        asking.sendto(b"?", (host, 81))
        with contextlib.suppress(TimeoutError, ConnectionRefusedError):
            return asking.recv(100).decode()
        return ""

    first = await until(lambda: asyncio.to_thread(ask))
    await client.delete(kinds.POD, first, namespace="default")
    answered = silent = 0.0
    last = time.monotonic()
    names = []
    while answered < 20 or names[-1] == first:
        name = await asyncio.to_thread(ask)
        if name:
            answered += 1
            names.append(name)
            last = time.monotonic()
        silent = max(silent, time.monotonic() - last)
        assert silent < 1.0, names[-3:]
    assert names[-1] != first
    asking.close()


async def test_without_endpoints_a_connection_is_refused_in_ten_milliseconds(
    cluster: local.Local, client: protocol.Client
) -> None:
    place = await address(client, "nobody")
    times = []
    for _ in range(5):
        made = load.socket_in(cluster.within)
        started = time.monotonic()
        with pytest.raises(OSError), made:
            await asyncio.get_running_loop().sock_connect(made, (place, 80))
            if not await asyncio.get_running_loop().sock_recv(made, 1):
                raise ConnectionResetError
        times.append(time.monotonic() - started)
    assert min(times) < 0.010, times


async def test_a_pod_has_no_socket_of_the_clusters(cluster: local.Local) -> None:
    """A door that a pod has inherited is open after its cluster is gone."""
    ours = sockets_of(cluster.state.holder(), below=False)
    assert ours
    pods = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and is_pod(one, cluster)]
    assert len(pods) >= 3
    assert not [pid for pid in pods if sockets_of(pid) & ours]


def is_pod(process: Path, cluster: local.Local) -> bool:
    with contextlib.suppress(OSError):
        return str(cluster.state.pods).encode() in (process / "cmdline").read_bytes()
    return False


def sockets_of(pid: int, *, below: bool = True) -> set[str]:
    """Their numbers, of the process and all below it."""
    found = set()
    with contextlib.suppress(psutil.NoSuchProcess, OSError):  # a pod may end meanwhile
        children = psutil.Process(pid).children(recursive=True) if below else []
        for one in [pid, *(child.pid for child in children)]:
            for link in Path(f"/proc/{one}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found |= {name for name in [os.readlink(link)] if name.startswith("socket:")}
    return found


# -- over restarts of fairlead


async def test_affinity_and_addresses_survive_a_restart(cluster: local.Local) -> None:
    async with cluster.client() as client:
        before = {one["metadata"]["name"]: one["spec"] for one in (await client.list(kinds.SERVICE)).items}
    place = before["sticky"]["clusterIP"]
    kept = await until(lambda: who(cluster, place))
    assert {await who(cluster, place) for _ in range(6)} == {kept}
    os.kill(cluster.state.holder(), signal.SIGKILL)
    await asyncio.to_thread(cluster.up)
    assert {await who(cluster, place) for _ in range(6)} == {kept}
    async with cluster.client() as client:
        after = {one["metadata"]["name"]: one["spec"] for one in (await client.list(kinds.SERVICE)).items}
        assert after == before
        taken = {"clusterIP": place, "ports": [{"port": 80}]}
        with pytest.raises(Exception, match="provided IP is already allocated"):
            await client.create(kinds.SERVICE, {"metadata": {"name": "thief"}, "spec": taken}, namespace="default")


# -- load balancers


async def test_a_load_balancer_has_an_address_at_once_and_says_which_port_is_taken(
    cluster: local.Local, client: protocol.Client
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken, free = holder.getsockname()[1], free_ports.free()
        for name, port in (("free", free), ("taken", taken)):
            made = service(name, type="LoadBalancer", ports=[{"port": port, "targetPort": "http"}])
            await client.create(kinds.SERVICE, made, namespace="default")

        async def status(name: str) -> Object:
            found = await client.get(kinds.SERVICE, name, namespace="default")
            return found["status"] if found["status"].get("loadBalancer", {}).get("ingress") else {}

        found = await until(lambda: status("free"))
        assert found["loadBalancer"]["ingress"][0]["ip"] == "127.0.0.1"
        assert not found.get("conditions")
        assert (await asyncio.to_thread(fetched, "127.0.0.1", free)).startswith("net-")

        async def told() -> Object:
            found = await status("taken")
            return found if found.get("conditions") else {}

        found = await until(told)
        own = await address(client, "taken")
        (entry,) = found["loadBalancer"]["ingress"]
        assert (entry["ip"], entry["ports"][0]["error"]) == (own, "PortTaken")
        (condition,) = found["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "LoadBalancerPortsError", "True", "PortTaken",
        )  # fmt: skip
        assert f"127.0.0.1:{taken}" in condition["message"]
        assert (await until(lambda: who(cluster, own, taken))).startswith("net-")

    async def here() -> bool:
        found = await status("taken")
        return not found.get("conditions") and found["loadBalancer"]["ingress"][0]["ip"] == "127.0.0.1"

    await until(here)  # the port is free now
    assert (await asyncio.to_thread(fetched, "127.0.0.1", taken)).startswith("net-")
    for name in ("free", "taken"):
        await client.delete(kinds.SERVICE, name, namespace="default")


def fetched(host: str, port: int) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request("GET", "/")
    body = connection.getresponse().read().decode()
    connection.close()
    return body


async def test_a_health_check_node_port_tells_the_nodes_ready_endpoints(
    cluster: local.Local, client: protocol.Client
) -> None:
    ports = [{"port": free_ports.free(), "targetPort": "http"}]
    made = service("healthy", type="LoadBalancer", externalTrafficPolicy="Local", ports=ports)
    found = await client.create(kinds.SERVICE, made, namespace="default")
    port = found["spec"]["healthCheckNodePort"]

    def state(host: str) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(ConnectionError):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return answer.status, answer.getheader("X-Load-Balancing-Endpoint-Weight")
        return 0, None

    for host in LOCALHOST:
        await becomes(functools.partial(state, host), (200, "3"))
    await client.patch(kinds.SERVICE, "healthy", {"spec": {"selector": {"app": "nobody"}}}, namespace="default")
    for host in LOCALHOST:
        await becomes(functools.partial(state, host), (503, "0"))
    await client.delete(kinds.SERVICE, "healthy", namespace="default")
    for host in LOCALHOST:
        await becomes(functools.partial(state, host), (0, None))


async def test_a_port_of_localhost_is_there_by_either_name_of_it(cluster: local.Local, client: protocol.Client) -> None:
    """Of a Service of IPv4 alone, in every mode: `localhost` is ::1 to many programs."""
    made = service("doors", type="LoadBalancer", ports=[{"port": free_ports.free(), "targetPort": "http"}])
    found = await client.create(kinds.SERVICE, made, namespace="default")
    entry = found["spec"]["ports"][0]

    def answers(host: str, port: int) -> int:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(ConnectionError):
            connection.request("GET", "/")
            return connection.getresponse().status
        return 0

    for host in LOCALHOST:
        for port in (entry["port"], entry["nodePort"]):
            await becomes(functools.partial(answers, host, port), 200)
    await client.delete(kinds.SERVICE, "doors", namespace="default")


# -- beside others


async def test_who_flushes_our_rules_is_told_of_on_the_node(cluster: local.Local, client: protocol.Client) -> None:
    if cluster.network != "kernel":
        pytest.skip("only where the machine's own rules are ours, too")
    subprocess.run(["nft", "flush", "chain", "inet", f"fairlead-{cluster.name}", "prerouting"], check=True)
    told = await asyncio.wait_for(
        local.until(client, kinds.EVENT, lambda found: any(one["reason"] == "RulesRepaired" for one in found)), 20
    )
    (one,) = [event for event in told if event["reason"] == "RulesRepaired"]
    assert one["involvedObject"]["kind"] == "Node" and one["type"] == "Warning"
    assert "rules are gone" in one["message"]


STRANGERS = """
table inet stranger {
  set known { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.0/24 }; }
  chain out { type filter hook output priority 10; policy accept; ip daddr @known counter; }
  chain way { type filter hook forward priority 0; policy drop; ct state established accept; }
}
table ip nat {
  chain POSTROUTING { type nat hook postrouting priority 100; policy accept; ip saddr 10.88.0.0/16 masquerade; }
}
"""


@pytest.fixture
def strangers() -> Iterator[Callable[[], str]]:
    """Another tool's tables, and the bridge that Podman makes for a container; says what of it is there."""
    subprocess.run(["nft", "-f", "-"], input=STRANGERS, text=True, check=True)
    bridge = "flstr0"
    for words in (f"link add {bridge} type bridge", f"addr add 10.88.0.1/16 dev {bridge}", f"link set {bridge} up"):
        subprocess.run(["ip", *words.split()], check=True)

    def seen() -> str:
        tables = [("inet", "stranger"), ("ip", "nat")]
        said = [subprocess.check_output(["nft", "-s", "list", "table", *one], text=True) for one in tables]
        said.append(subprocess.check_output(["ip", "-o", "addr", "show", bridge], text=True).split("valid_lft")[0])
        said.append(subprocess.check_output(["ip", "route", "show", "dev", bridge], text=True))
        return "\n".join(said)

    yield seen
    subprocess.run(["ip", "link", "del", bridge], check=True)
    for one in (("inet", "stranger"), ("ip", "nat")):
        subprocess.run(["nft", "delete", "table", *one], check=True)


@pytest.mark.skipif("kernel" not in conftest.MODES, reason="rules of the machine need root")
def test_rules_and_networks_of_others_are_as_they_were_after_up_and_down(
    strangers: Callable[[], str], tmp_path: Path
) -> None:
    """But for what lets the pods' packets pass a chain that drops, which is there while the cluster is."""
    cluster = local.make(tmp_path, "kernel")
    before = strangers()
    try:
        cluster.up(local.EXAMPLE)
        during = strangers()
        ours = [line for line in during.splitlines() if f'comment "fairlead-{cluster.name}"' in line]
        assert len(ours) == (4 if ipv6.available() else 2)  # each way, of each address family
        assert [line for line in during.splitlines() if line not in ours] == before.splitlines()
    finally:
        local.remove(cluster)
    assert strangers() == before


@pytest.fixture
def own_network() -> Iterator[None]:
    """The test, and what it starts, lives in a network namespace of its own."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    space = worlds.Space(f"fl-others{os.getpid()}")
    worlds.enter(f"/run/netns/{space.name}")
    try:
        yield
    finally:
        worlds.enter(f"/proc/self/fd/{home}")
        os.close(home)
        worlds.run(f"ip netns del {space.name}")


class Podman:
    """Podman with a storage of its own, and a container that serves HTTP on a bridge network."""

    def __init__(self, folder: Path) -> None:
        self._words = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs"]
        for option in ("root", "runroot", "tmpdir", "network-config-dir"):
            self._words += [f"--{option}", str(folder / option)]
        image = folder / "image"
        (image / "bin").mkdir(parents=True)
        shutil.copy(str(shutil.which("busybox")), image / "bin" / "busybox")
        subprocess.run(["tar", "-C", str(image), "-cf", str(folder / "image.tar"), "."], check=True)
        self("import", str(folder / "image.tar"), "fltest:1")
        self("network", "create", "flnet")
        serve = "busybox mkdir /w; echo hello > /w/index.html; exec busybox httpd -f -p 80 -h /w"
        self("run", "-d", "--name", "c1", "--network", "flnet", "fltest:1", "/bin/busybox", "sh", "-c", serve)
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        self.address = self("inspect", "c1", "-f", form).strip()

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self._words, *words], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            pytest.skip(f"podman {words[0]}: {done.stderr.strip()[-200:]}")
        return done.stdout

    def close(self) -> None:
        self("rm", "-f", "-t", "0", "c1")
        self("network", "rm", "flnet")
        shutil.rmtree("/var/lib/cni/networks/flnet", ignore_errors=True)  # what CNI forgets


@pytest.mark.skipif(bool(engines.missing()), reason=engines.missing() or "Podman")
@pytest.mark.skipif("kernel" not in conftest.MODES, reason="rules of the machine need root")
def test_a_podman_network_is_as_it_was_after_up_and_down(own_network: None, tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fl-po-"))  # short: Podman's paths have 50 characters at most
    podman = Podman(folder)
    cluster = local.make(tmp_path, "kernel")

    def seen() -> tuple[str, list[str], str]:
        rules = subprocess.check_output(["nft", "-s", "list", "ruleset"], text=True)
        theirs = "".join(part for part in rules.split("\ntable ") if not part.startswith("inet fairlead"))
        links = subprocess.check_output(["ip", "-o", "-4", "addr"], text=True).splitlines()
        bridges = [line for line in links if "podman" in line]
        assert bridges
        return theirs.strip(), bridges, fetched(podman.address, 80)

    try:
        before = seen()
        assert before[2] == "hello\n"
        cluster.up(local.EXAMPLE)
        assert seen() == before
        local.remove(cluster)
        assert seen() == before
    finally:
        local.remove(cluster)
        podman.close()
        shutil.rmtree(folder, ignore_errors=True)
