"""gRPC through a plain ClusterIP with `appProtocol: kubernetes.io/h2c`: each call of one client connection is balanced,
where other Services send all calls of a connection to one pod."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
import yaml

from fairlead.api import kinds
from tests.system import conftest, local

pytestmark = pytest.mark.system
APPS = Path(__file__).parent / "apps"
CALLS = 3000
DIRECT = [mode for mode in conftest.MODES if mode != "rootless"]  # there the address is not of the machine's network


def manifests() -> tuple[str, str]:
    container = {
        "name": "app",
        "image": "grpc-proof",
        "ports": [{"name": "grpc", "containerPort": 50051}],
        "readinessProbe": {"grpc": {"port": 50051}, "periodSeconds": 1},
        "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "proof"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "proof"}},
            "template": {"metadata": {"labels": {"app": "proof"}}, "spec": {"containers": [container]}},
        },
    }
    port = {"port": 50051, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "proof"},
        "spec": {"selector": {"app": "proof"}, "ports": [port]},
    }
    images = {"images": {"grpc-proof": {"command": [sys.executable, str(APPS / "grpc_server.py")]}}}
    return yaml.safe_dump_all([deployment, service]), yaml.safe_dump(images)


@pytest.fixture(scope="module", params=DIRECT)
def cluster(request: pytest.FixtureRequest) -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), request.param)
    folder = Path(tempfile.mkdtemp(prefix="fl-grpc-"))
    objects, images = manifests()
    (folder / "app.yaml").write_text(objects)
    (folder / "fairlead.yaml").write_text(images)
    try:
        made.up(folder)
        yield made
    finally:
        local.remove(made)
        shutil.rmtree(folder)


@pytest.fixture
async def say(cluster: local.Local) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable]:
    """The call, over one connection to the Service's address."""
    address = cluster.kubectl("get", "service", "proof", "-o", "jsonpath={.spec.clusterIP}")
    async with grpc.aio.insecure_channel(f"{address}:50051") as channel:
        yield channel.unary_unary("/proof.Name/Say")


async def ready_pods(cluster: local.Local, count: int) -> set[str]:
    """Scales, and returns the pods when a client of the Service may count on all of them."""
    await asyncio.to_thread(cluster.kubectl, "scale", "deployment/proof", f"--replicas={count}")
    async with cluster.client() as client, asyncio.timeout(60):
        pods = await local.until(
            client, kinds.POD, lambda all_: len(local.ready(all_)) == count == len(all_), labels="app=proof"
        )
    return set(local.ready(pods))


async def test_calls_that_follow_one_another_go_round_exactly(
    cluster: local.Local, say: grpc.aio.UnaryUnaryMultiCallable
) -> None:
    pods = await ready_pods(cluster, 3)
    await reaches_all(say, pods)
    answers = Counter([(await say(b"")).decode() for _ in range(CALLS)])
    assert answers == dict.fromkeys(pods, CALLS // 3)


async def test_fifty_calls_in_flight_are_even_within_five_per_cent(
    cluster: local.Local, say: grpc.aio.UnaryUnaryMultiCallable
) -> None:
    pods = await ready_pods(cluster, 3)
    await reaches_all(say, pods)
    answers: Counter[str] = Counter()
    left = iter(range(CALLS))

    async def caller() -> None:
        for _ in left:
            answers[(await say(b"20")).decode()] += 1

    await asyncio.gather(*(caller() for _ in range(50)))
    assert answers.total() == CALLS
    assert all(abs(answers[pod] - CALLS / 3) <= CALLS / 3 * 0.05 for pod in pods), answers


async def test_new_pods_get_their_share_of_an_old_connection_within_a_second(
    cluster: local.Local, say: grpc.aio.UnaryUnaryMultiCallable
) -> None:
    await reaches_all(say, await ready_pods(cluster, 3))
    pods = await ready_pods(cluster, 6)
    await asyncio.wait_for(reaches_all(say, pods), 1)
    answers = Counter([(await say(b"")).decode() for _ in range(600)])
    assert answers == dict.fromkeys(pods, 100)


async def reaches_all(say: grpc.aio.UnaryUnaryMultiCallable, pods: set[str]) -> None:
    """Calls until every one of these pods has answered, and nobody else did in the last round."""
    last: list[str] = []
    while set(last[-len(pods) :]) != pods:
        last.append((await say(b"")).decode())
