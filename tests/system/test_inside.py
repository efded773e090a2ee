"""What a pod finds inside: the API by the official client's in-cluster configuration, its Services' variables, a port
of the host, a volume that outlives it and a restart of the cluster."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.client import protocol
from fairlead.node.network import ipv6
from fairlead.testing import ports as free_ports
from tests.system import load, local

pytestmark = [pytest.mark.system, pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")]
Object = dict[str, Any]
LIST_PODS = (
    "from kubernetes import client, config; config.load_incluster_config(); "
    "print('found', *[pod.metadata.name for pod in client.CoreV1Api().list_namespaced_pod('default').items])"
)
SERVE = (
    "import http.server as h, os; "
    "h.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), h.SimpleHTTPRequestHandler).serve_forever()"
)


@pytest.fixture(scope="module", params=("kernel", "loopback"))
def cluster(request: pytest.FixtureRequest) -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), request.param)
    try:
        made.up()
        yield made
    finally:
        local.remove(made)


async def run(client: protocol.Client, cluster: local.Local, name: str, command: list[str], **spec: Any) -> str:
    """What a pod that runs that command to its end has printed."""
    container = {"name": "app", "image": "x", "command": command, **spec.pop("container", {})}
    body = {"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [container], **spec}}
    await client.create(kinds.POD, body, namespace="default")

    def over(pods: list[Object]) -> bool:
        return any(
            pod["metadata"]["name"] == name and pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods
        )

    await asyncio.wait_for(local.until(client, kinds.POD, over), 40)
    return cluster.kubectl("logs", name)


async def test_the_official_client_works_in_a_pod_as_the_pods_account(cluster: local.Local) -> None:
    async with cluster.client() as client:
        account = {"metadata": {"name": "reader"}}
        await client.create(kinds.SERVICE_ACCOUNT, account, namespace="default")
        subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
        body = {"metadata": {"name": "reader"}, "subjects": [subject], "roleRef": reference}
        await client.create(kinds.ROLE_BINDING, body, namespace="default")
        said = await run(client, cluster, "asks", [sys.executable, "-c", LIST_PODS], serviceAccountName="reader")
        assert said.split() == ["found", "asks"]
        said = await run(client, cluster, "may-not", [sys.executable, "-c", LIST_PODS])
        assert "system:serviceaccount:default:default" in said and "Forbidden" in said
        line = "ls /var/run/secrets/kubernetes.io 2>/dev/null; echo end"
        said = await run(client, cluster, "none", ["/bin/sh", "-c", line], automountServiceAccountToken=False)
        assert said == "end\n"


async def test_services_are_variables_and_host_ports_lead_to_the_pod(cluster: local.Local) -> None:
    async with cluster.client() as client:
        said = await run(client, cluster, "env", ["/usr/bin/env"])
        assert "KUBERNETES_SERVICE_HOST=" in said and "KUBERNETES_SERVICE_PORT=443" in said
        port = free_ports.free()
        serves = {
            "name": "app", "image": "x", "command": [sys.executable, "-c", SERVE],
            "ports": [{"containerPort": 8080, "hostPort": port}],
        }  # fmt: skip
        for name in ("first", "second"):
            body = {"metadata": {"name": name, "labels": {"app": "port"}}, "spec": {"containers": [serves]}}
            await client.create(kinds.POD, body, namespace="default")
            if name == "first":
                await asyncio.wait_for(local.until(client, kinds.POD, lambda pods: "first" in local.ready(pods)), 30)
        await _answers(port)
        if ipv6.available():
            await _answers(port, "::1")
        told = await asyncio.wait_for(
            local.until(client, kinds.EVENT, lambda found: any("is taken by pod" in one["message"] for one in found)),
            30,
        )
        assert any(f"hostPort {port}/tcp is taken by pod default/first" in one["message"] for one in told)
        await client.delete(kinds.POD, "first", namespace="default", grace_seconds=0)
        await asyncio.wait_for(local.until(client, kinds.POD, lambda pods: "second" in local.ready(pods)), 60)
        await _answers(port)
        await client.delete(kinds.POD, "second", namespace="default", grace_seconds=0)


async def _answers(port: int, host: str = "127.0.0.1") -> None:
    async with asyncio.timeout(20):
        while (status := await _status(port, host)) == 0:
            await asyncio.sleep(0.05)
    assert status == 200


async def _status(port: int, host: str) -> int:
    """What the port answers; 0 while nobody does."""
    try:
        connection = load.Connection(host, port)
        status, _ = await connection.get("/")
        connection.close()
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    return status


async def test_a_claims_data_survives_pod_and_cluster(cluster: local.Local) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    volumes = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
    }
    async with cluster.client() as client:
        await client.create(
            kinds.PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "data"}, "spec": claim}, namespace="default"
        )
        assert (
            await run(client, cluster, "writes", ["/bin/sh", "-c", "echo kept > /data/x; cat /data/x"], **volumes)
            == "kept\n"
        )
    cluster.down()
    cluster.up()
    async with cluster.client() as client:
        assert await run(client, cluster, "reads", ["/bin/cat", "/data/x"], **volumes) == "kept\n"
