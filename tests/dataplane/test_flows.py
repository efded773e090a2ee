"""Where packets go: Kubernetes' own proxy tests, by name, in the interpreter, in a fake kernel, and with real packets.

Each document of tests/golden/flows is one case: objects, and rows of (from, to) -> endpoints, REJECT, DROP or PASS, and
whether the client is masqueraded. Cases of one file follow one another on the same plane, so that changes are tested.
Files that know IPv4 only are run by IPv6, too, each address replaced by one that means the same.
`EngineCarried` is what a kernel rule cannot do: rows with `by: engine`, or `engine-http`, go there first. Real packets
go twice: by nftables alone, and with balancing at connect time beside it, which must carry exactly its rows.
"""

import asyncio
import contextlib
import os
import pathlib
import re

import pytest
import yaml

from fairlead.base import clock, netns
from fairlead.dataplane import coordinator, engine, nft_state, nftables, spawn
from fairlead.dataplane.connect_time import plane as connect_time
from fairlead.routing import carrier, interpret, settings, translate
from fairlead.testing import nft_fake, worlds

FOLDER = pathlib.Path(__file__).parent.parent / "golden" / "flows"
FILES = sorted(FOLDER.glob("*.yaml"))
WHERE = settings.Settings(
    network="kernel", node="here", lowest_port=0, gateway=worlds.GATEWAY, gateway6=worlds.GATEWAY6
)
DOORS = {"engine": WHERE.transparent_tcp_port, "engine-http": WHERE.transparent_http_port}
NODE = interpret.Node(
    addresses=(worlds.NODE, worlds.GATEWAY, worlds.NODE6, worlds.GATEWAY6),
    pod_networks=(worlds.PODS4, worlds.PODS6),
    service_networks=(worlds.SERVICES4, worlds.SERVICES6),
)
SOURCES = {
    "pod": "10.244.0.2", "pod6": "fd00:244::2", "a": "10.244.0.3", "node": worlds.NODE, "node6": worlds.NODE6,
    "outside": worlds.OUTSIDE, "outside6": worlds.OUTSIDE6, "blocked": "192.0.2.66",
    "a6": "fd00:244::3", "blocked6": "2001:db8::66",
}  # fmt: skip
IPV4 = re.compile(r"(\s*)(\d+\.\d+\.\d+)\.(\d+)(?:(:|/)(\d+))?")
MEANING = {
    "10.244.0": "fd00:244::", "10.96.0": "fd00:96::", "192.0.2": "2001:db8::", "198.51.100": "2001:db8:51::",
    "203.0.113": "2001:db8:113::",
}  # fmt: skip
LENGTHS = {"25": "121", "26": "122", "28": "123"}  # the last with OUTSIDE6 in it, as OUTSIDE is in the first
BY_IPV6 = [path for path in FILES if path.stem not in ("EngineCarried", "TestNodePorts", "TestBadIPs")]
BOTH = [*((path, False) for path in FILES), *((path, True) for path in BY_IPV6)]


def named(value):
    """How a parameter is called."""
    return value.stem if isinstance(value, pathlib.Path) else {True: "IPv6", False: "as written"}.get(value, value)


def cases(path, six=False):
    found = list(yaml.safe_load_all(path.read_text()))
    return [by_ipv6(case) for case in found] if six else found


def by_ipv6(part):
    """The same by IPv6."""
    if isinstance(part, dict):
        made = {key: by_ipv6(value) for key, value in part.items()}
        if made.get("from") in ("pod", "a", "node", "outside", "blocked"):
            made["from"] += "6"
        if ":" in str(made.get("clusterIP", "")):
            made["ipFamilies"] = ["IPv6"]
        return made
    if isinstance(part, list):
        return [by_ipv6(one) for one in part]
    if part == "IPv4":
        return "IPv6"
    found = IPV4.fullmatch(part) if isinstance(part, str) else None
    if found is None:
        return part
    blank, head, last, mark, number = found.groups()
    address = MEANING[head] + ("" if mark == "/" else last)
    if mark == ":":
        return f"[{address}]:{number}"
    return f"{blank}{address}/{LENGTHS[number]}" if mark else address


def translated(case):
    of = {kind: [one for one in case["objects"] if one["kind"] == kind] for kind in ("Service", "EndpointSlice")}
    made = translate.translate(translate.Snapshot(services=of["Service"], endpoint_slices=of["EndpointSlice"]), WHERE)
    return made.structure, translate.all_endpoints(made, of["EndpointSlice"])


def split(place):
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


def expected(row):
    return row["goes"] if isinstance(row["goes"], str) else {split(one) for one in row["goes"]}


def check(row, answer, what):
    found = {(e.address, e.port) for e in answer.endpoints} if answer.verdict == "ENDPOINTS" else answer.verdict
    assert found == expected(row), f"{what}: {row['name']}"
    if row.get("masquerade") is not None and row["from"] not in (
        "a",
        "a6",
    ):  # "a" is its own endpoint: only real packets tell
        assert answer.masquerade == row["masquerade"], f"{what}: {row['name']}: masquerade"


@pytest.mark.parametrize(("path", "six"), BOTH, ids=named)
def test_the_interpreter(path, six):
    for case in cases(path, six):
        structure, sets = translated(case)
        delta = {one.backend: one.endpoints for one in sets}
        for row in case["flows"]:
            address, port = split(row["to"])
            source, protocol = SOURCES.get(row["from"], row["from"]), row.get("protocol", "tcp")
            node = NODE if row["from"] in SOURCES else interpret.Node((*NODE.addresses, source), *NODE_NETWORKS)
            answer = interpret.packet(
                structure, delta, source=source, protocol=protocol, address=address, port=port, node=node
            )
            check(row, answer, case["case"])


NODE_NETWORKS = (NODE.pod_networks, NODE.service_networks)


@pytest.mark.parametrize(("path", "six"), BOTH, ids=named)
def test_the_rules(path, six):
    state, kernel = nft_state.State(nft_state.Site(NODE.pod_networks)), nft_fake.FakeKernel(NODE)
    for case in cases(path, six):
        structure, sets = translated(case)
        state.want_endpoints(sets)
        state.want_structure(structure)
        kernel.commit(state.take())
        assert state.nacks == ()
        for row in case["flows"]:
            source = SOURCES.get(row["from"], row["from"])
            answer = kernel.answer(source, row.get("protocol", "tcp"), *split(row["to"]))
            check(at_the_engine(row, structure), answer, case["case"])


def at_the_engine(row, structure):
    """The row as the kernel's rules see it."""
    if "by" not in row:
        return row
    if row.get("protocol") == "udp":
        address, port = split(row["to"])
        (listener,) = (
            listener
            for listener in structure.listeners.values()
            if listener.id.startswith("datagrams/")
            and any((one.address, one.port) == (address, port) for one in structure.backends[listener.backend].virtual)
        )
        return {**row, "goes": [listener.sockets[0].removeprefix("udp:")]}
    gateway = f"[{worlds.GATEWAY6}]" if row["to"].startswith("[") else worlds.GATEWAY
    return {**row, "goes": [f"{gateway}:{DOORS[row['by']]}"]}


@pytest.fixture(scope="module")
def world():
    with worlds.World(pods=7) as made:
        made.outside.ip("addr add 192.0.2.66/24 dev eth0")
        made.outside.ip("addr add 2001:db8::66/64 dev eth0 nodad preferred_lft 0")  # only for who binds it
        made.node.exec("sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")  # every REJECT is told
        for pod in made.pods[1:]:
            for port in (80, 8443, 53, 5353):
                pod.serve(pod.address, port)
                pod.serve(pod.address6, port)
            for address in (pod.address, pod.address6):
                pod.serve(address, 8090, http=True)
        yield made


async def observed(world, row, *, straight=False):
    """(where packets went, whom the servers saw) of enough requests for everyone to have a turn."""
    spaces = {
        "pod": world.pods[0],
        "pod6": world.pods[0],
        "a": world.pods[1],
        "a6": world.pods[1],
        "node": world.node,
        "node6": world.node,
    }
    space, source = spaces.get(row["from"], world.outside), SOURCES[row["from"]]
    address, port = split(row["to"])
    count = 2 * len(row["goes"]) if isinstance(row["goes"], list) else 1
    protocol = "http" if row.get("by") == "engine-http" else row.get("protocol", "tcp")
    if straight and protocol == "udp":
        protocol = "datagrams"  # a connected socket's are left to nftables
    bound = source if row["from"] in ("blocked", "blocked6") else ""
    answers = [
        await world.ask(space, address, port, protocol=protocol, seconds=0.3 if "by" not in row else 2.0, bind=bound)
        for _ in range(count)
    ]
    if any(isinstance(answer, str) for answer in answers):
        return answers[0], set()
    return {(server, int(at)) for server, at, _ in answers}, {seen for _, _, seen in answers}


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.parametrize(
    ("path", "six", "how_balanced"),
    [
        *((path, False, how) for path in FILES for how in ("by nftables", "at connect time")),
        *((path, True, "by nftables") for path in BY_IPV6),
    ],
    ids=named,
)
async def test_real_packets(world, failures, folder, path, six, how_balanced):
    how = {"clock": clock.SystemClock(), "on_failure": lambda *failure: failures.append(failure)}
    kernel = nftables.NftablesPlane(
        "fairlead-flows", pods=NODE.pod_networks, services=NODE.service_networks, gateways=(worlds.GATEWAY,), **how
    )
    await kernel.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(kernel.close, purge=True)
        planes = [kernel]
        if any("by" in row for case in cases(path) for row in case["flows"]):
            planes.insert(0, await stack.enter_async_context(the_engine(folder, **how)))
        connecting = connect_time.ConnectPlane(kernel, on_failure=how["on_failure"])
        stack.push_async_callback(connecting.close)
        if how_balanced == "at connect time":
            for pod in world.pods:
                connecting.admit(pod.name, pod.call(netns.cookie_here))
            await connecting.attach()
            planes.append(connecting)
        await walk(world, coordinator.Coordinator(planes, **how), cases(path, six), connecting)


@contextlib.asynccontextmanager
async def the_engine(folder, **how):
    try:
        binary = spawn.find_binary()
    except spawn.EngineMissing:
        pytest.skip("no fairlead-engine was built")
    plane = engine.EnginePlane(str(folder / "engine.sock"), binary=binary, log_path=str(folder / "log"), **how)
    await plane.start()
    try:
        yield plane
    finally:
        async with asyncio.timeout(10):
            await plane.shutdown(grace_seconds=0)
        await plane.close()


def is_for_connect_time(structure, sets, row):
    """(the Backend, whether a client's connection is to go straight from its socket to an endpoint)."""
    address, port = split(row["to"])
    source, protocol = SOURCES[row["from"]], row.get("protocol", "tcp")
    delta = {one.backend: one.endpoints for one in sets}
    answer = interpret.packet(structure, delta, source=source, protocol=protocol, address=address, port=port, node=NODE)
    own = structure.backends[answer.backend].virtual if answer.verdict == "ENDPOINTS" else ()
    cluster_ip = any((one.address, one.port) == (address, port) and not one.external for one in own)
    here = row["from"] in ("pod", "pod6", "a", "a6", "node", "node6")
    return answer.backend, here and cluster_ip and carrier.leads_straight(structure.backends[answer.backend])


async def walk(world, planes, told, connecting):
    for case in told:
        structure, sets = translated(case)
        await planes.apply_endpoints(sets)
        async with asyncio.timeout(10):
            assert await planes.acked(await planes.apply(structure)) == ()
        for row in case["flows"]:
            if row["from"] not in SOURCES or row["goes"] == "PASS":
                continue  # a source that this node would have to forge; an address that leads nowhere
            backend, straight = is_for_connect_time(structure, sets, row)
            straight = straight and connecting.is_attached
            before = connecting.connections(backend)
            went, seen = await observed(world, row, straight=straight)
            assert (connecting.connections(backend) > before) == straight, f"{case['case']}: {row['name']}"
            assert went == expected(row), f"{case['case']}: {row['name']}"
            if row.get("masquerade") is not None and not row["from"].startswith("node"):
                masked = SOURCES[row["from"]] not in seen
                to_itself = straight and row["from"] in (
                    "a",
                    "a6",
                )  # without a translation there is nothing to masquerade
                assert masked == (row["masquerade"] and not to_itself), (
                    f"{case['case']}: {row['name']}: servers saw {seen}"
                )
