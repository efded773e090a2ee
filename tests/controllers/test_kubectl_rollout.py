"""The real kubectl's rollout commands, against the real API server and controllers."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fairlead.api import kinds
from fairlead.testing import workloads

from . import test_with_the_real_apiserver as real

Run = Callable[..., Awaitable[str]]
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[real.Cluster]:
    made = real.Cluster(tmp_path)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def kubectl(cluster: real.Cluster, tmp_path: Path) -> Run:
    cluster.api.write_kubeconfig(tmp_path / "kubeconfig")
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            *arguments,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, output.decode()
        return output.decode()

    return run


async def image(cluster: real.Cluster, kind: kinds.Kind = kinds.DEPLOYMENT) -> str:
    found = await cluster.client.get(kind, "web", namespace="default")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_rollouts_of_a_deployment(cluster: real.Cluster, kubectl: Run) -> None:
    await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web")
    await kubectl("set", "image", "deployment/web", "main=web:2")
    await kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=second")
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web")
    history = await kubectl("rollout", "history", "deployment/web")
    assert "second" in history and history.count("\n") >= 4
    await kubectl("rollout", "undo", "deployment/web")
    await kubectl("rollout", "status", "deployment/web")
    assert await image(cluster) == "web:1"
    await kubectl("rollout", "pause", "deployment/web")
    await kubectl("set", "image", "deployment/web", "main=web:3")
    await kubectl("rollout", "resume", "deployment/web")
    await kubectl("rollout", "status", "deployment/web")
    assert {pod["spec"]["containers"][0]["image"] for pod in await cluster.pods()} == {"web:3"}
    before = {pod["metadata"]["uid"] for pod in await cluster.pods()}
    await kubectl("rollout", "restart", "deployment/web")
    await kubectl("rollout", "status", "deployment/web")
    assert before.isdisjoint({pod["metadata"]["uid"] for pod in await cluster.pods()})
    await kubectl("scale", "deployment/web", "--replicas=5")
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    await kubectl("rollout", "status", "deployment/web")
    assert "5 desired | 5 updated | 5 total | 5 available" in await kubectl("describe", "deployment/web")


async def test_rollouts_of_a_stateful_set_and_a_daemon_set(cluster: real.Cluster, kubectl: Run) -> None:
    await cluster.client.create(kinds.STATEFUL_SET, workloads.workload("StatefulSet", replicas=2, serviceName="web"))
    await cluster.client.create(kinds.DAEMON_SET, workloads.workload("DaemonSet", "agent"))
    await kubectl("rollout", "status", "statefulset/web", "--timeout=30s")
    await kubectl("rollout", "status", "daemonset/agent", "--timeout=30s")
    await kubectl("set", "image", "statefulset/web", "main=web:2")
    await kubectl("set", "image", "daemonset/agent", "main=web:2")
    await kubectl("rollout", "status", "statefulset/web", "--timeout=30s")
    await kubectl("rollout", "status", "daemonset/agent", "--timeout=30s")
    assert await kubectl("rollout", "history", "statefulset/web")
    await kubectl("rollout", "undo", "statefulset/web")
    await kubectl("rollout", "undo", "daemonset/agent")
    await kubectl("rollout", "status", "statefulset/web", "--timeout=30s")
    await kubectl("rollout", "status", "daemonset/agent", "--timeout=30s")
    assert await image(cluster, kinds.STATEFUL_SET) == "web:1"
    assert {pod["spec"]["containers"][0]["image"] for pod in await cluster.pods()} == {"web:1"}


async def test_jobs_and_autoscalers(cluster: real.Cluster, kubectl: Run) -> None:
    cluster.kubelet.outcome = lambda pod: (0.1, 0) if "job-name" in pod["metadata"]["labels"] else None
    await kubectl("create", "job", "work", "--image=work:1")
    await kubectl("wait", "--for=condition=Complete", "job/work", "--timeout=30s")
    assert "1/1" in await kubectl("get", "job", "work")
    await kubectl("create", "cronjob", "tick", "--image=work:1", "--schedule=0 0 1 1 *")
    await kubectl("create", "job", "now", "--from=cronjob/tick")
    await kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=30s")
    await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
    await kubectl("autoscale", "deployment/web", "--min=4", "--max=6", "--cpu-percent=50")

    async def grown() -> bool:
        return len([pod for pod in await cluster.pods() if pod["metadata"]["labels"].get("app") == "web"]) == 4

    await cluster.until(grown)
    assert "4" in await kubectl("get", "hpa", "web")
