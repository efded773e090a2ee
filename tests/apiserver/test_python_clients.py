"""Other people's clients: the official one, lightkube, kr8s, and an operator written with kopf."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import lightkube
import pytest
from kubernetes.dynamic import DynamicClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client import rest
from fairlead.testing import pod_door

from .test_custom_resources import WIDGET, definition, widget

pytestmark = pytest.mark.system

POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}


@pytest.fixture
def official(api: server.ApiServer, tmp_path: Path) -> Iterator[kubernetes.client.ApiClient]:
    with kubernetes.config.new_client_from_config(str(tmp_path / "kubeconfig")) as made:
        yield made
        made.rest_client.pool_manager.clear()


async def test_official_client(official: kubernetes.client.ApiClient) -> None:
    def use() -> None:
        core = kubernetes.client.CoreV1Api(official)
        body = kubernetes.client.V1ConfigMap(
            metadata=kubernetes.client.V1ObjectMeta(name="c", labels={"a": "b"}), data={"k": "v"}
        )
        made = core.create_namespaced_config_map("default", body)
        assert made.metadata.uid and made.data == {"k": "v"}
        version = core.list_namespaced_config_map("default", label_selector="a=b").metadata.resource_version
        core.patch_namespaced_config_map("c", "default", {"data": {"k": "w"}})
        made = core.read_namespaced_config_map("c", "default")
        made.data["z"] = "1"
        assert core.replace_namespaced_config_map("c", "default", made).data == {"k": "w", "z": "1"}
        core.delete_namespaced_config_map("c", "default")
        watch = kubernetes.watch.Watch()
        seen = []
        for event in watch.stream(
            core.list_namespaced_config_map,
            "default",
            resource_version=version,
            label_selector="a=b",
            timeout_seconds=10,
        ):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                watch.stop()
        assert seen == ["MODIFIED", "MODIFIED", "DELETED"]
        with pytest.raises(kubernetes.client.ApiException) as caught:
            core.read_namespaced_config_map("c", "default")
        assert caught.value.status == 404
        core.create_namespaced_pod("default", POD)
        assert core.read_namespaced_pod("p", "default").spec.restart_policy == "Always"

    await asyncio.to_thread(use)


async def test_official_dynamic_client(official: kubernetes.client.ApiClient, client: rest.RestClient) -> None:
    await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())

    def use() -> None:
        dynamic = DynamicClient(official)
        widgets = dynamic.resources.get(api_version="example.com/v1", kind="Widget")
        body = {"apiVersion": "example.com/v1", "kind": "Widget", **widget()}
        assert widgets.create(body=body, namespace="default").spec.color == "red"
        changed = widgets.patch(
            name="w", namespace="default", body={"spec": {"size": 4}}, content_type="application/merge-patch+json"
        )
        assert changed.spec.size == 4
        applied = widgets.server_side_apply(
            name="w2",
            namespace="default",
            field_manager="me",
            body={"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w2"}, "spec": {"size": 2}},
        )
        assert applied.metadata.managedFields[0].manager == "me"
        assert [item.metadata.name for item in widgets.get(namespace="default").items] == ["w", "w2"]
        widgets.delete(name="w", namespace="default")

    await asyncio.to_thread(use)


EXEC = """
import kubernetes
from kubernetes.stream import stream

core = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config())
more = {"stdout": True, "stderr": True, "tty": False, "_preload_content": False}
connect = core.connect_get_namespaced_pod_exec
opened = stream(connect, "p", "default", command=["cat"], stdin=True, **more)
opened.write_stdin("hello\\n")
assert opened.readline_stdout(timeout=10) == "hello"
opened.close()
whole = stream(connect, "p", "default", command=["sh", "-c", "echo out; exit 3"], stdin=False, **more)
whole.run_forever(timeout=10)
assert whole.read_stdout() == "out\\n" and whole.returncode == 3
print("done")
"""


async def test_official_exec(
    client: rest.RestClient, door: pod_door.FakePodDoor, kubectl_environment: dict[str, str]
) -> None:
    await client.create(kinds.POD, POD, namespace="default")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", EXEC, env=kubectl_environment, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    assert out == b"done\n", err.decode()


LEADER = """
import sys
import kubernetes
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

kubernetes.config.load_kube_config()
lock = LeaseLock("leader", "default", "candidate-1")
config = electionconfig.Config(
    lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=lambda: print("leading", flush=True),
    onstopped_leading=None,
)
leaderelection.LeaderElection(config).run()
"""


async def test_official_leader_election(
    api: server.ApiServer, client: rest.RestClient, kubectl_environment: dict[str, str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        LEADER,
        env=kubectl_environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while b"leading" not in await process.stdout.readline():
            pass
    lease = await client.get(kinds.LEASE, "leader", namespace="default")
    assert lease["spec"]["holderIdentity"] == "candidate-1"
    process.kill()
    await process.communicate()


async def test_lightkube(api: server.ApiServer, tmp_path: Path) -> None:
    config = lightkube.KubeConfig.from_file(tmp_path / "kubeconfig")
    client = lightkube.AsyncClient(config=config, field_manager="light")
    made = await client.create(ConfigMap(metadata=ObjectMeta(name="c", namespace="default"), data={"a": "1"}))
    assert made.metadata is not None and made.metadata.uid
    await client.patch(ConfigMap, "c", {"data": {"a": "2"}}, namespace="default")
    applied = await client.apply(
        ConfigMap(metadata=ObjectMeta(name="d", namespace="default"), data={"a": "1"}), force=True
    )
    assert applied.data == {"a": "1"}
    names = [item.metadata.name async for item in client.list(ConfigMap, namespace="default") if item.metadata]
    assert names == ["c", "d"]
    async for kind, item in client.watch(ConfigMap, namespace="default"):
        assert kind == "ADDED" and item.metadata
        break
    await client.delete(ConfigMap, "c", namespace="default")
    await client.close()


KR8S = """
import asyncio
import kr8s
from kr8s.asyncio.objects import Deployment

async def use():
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = await Deployment({"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    await deployment.create()
    await deployment.patch({"spec": {"replicas": 3}})
    await deployment.refresh()
    found = [item.name async for item in kr8s.asyncio.get("deployments", namespace="default")]
    print(deployment.replicas, found)
    await deployment.delete()

asyncio.run(use())
"""


async def test_kr8s(api: server.ApiServer, kubectl_environment: dict[str, str]) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KR8S, env=kubectl_environment, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    assert out == b"3 ['d']\n", err.decode()


OPERATOR = """
import kopf

@kopf.on.create("example.com", "v1", "widgets")
def created(spec, patch, **_):
    patch.status["replicas"] = spec["size"]

@kopf.on.update("example.com", "v1", "widgets")
def updated(spec, patch, **_):
    patch.status["replicas"] = spec["size"]
"""


async def test_a_kopf_operator(client: rest.RestClient, kubectl_environment: dict[str, str], tmp_path: Path) -> None:
    made = definition()
    spec: Any = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = {
        **spec,
        "properties": {
            **spec["properties"],
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    made["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": spec}
    await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, made)
    (tmp_path / "operator.py").write_text(OPERATOR)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--standalone",
        "--namespace=default",
        str(tmp_path / "operator.py"),
        env=kubectl_environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await client.create(WIDGET, widget(size=3), namespace="default")
        await _replicas(client, 3)
        await client.patch(WIDGET, "w", {"spec": {"size": 5}}, namespace="default")
        await _replicas(client, 5)
    finally:
        process.terminate()
        _, text = await process.communicate()
    assert b"Traceback" not in text, text.decode()


async def _replicas(client: rest.RestClient, wanted: int) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await client.list(WIDGET, namespace="default")
            if found.items and (found.items[0].get("status") or {}).get("replicas") == wanted:
                return
            await asyncio.sleep(0.05)
