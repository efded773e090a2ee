"""Images in network mode `rootless`: containers of a Podman inside the cluster's namespaces, of the user's images."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.cluster import rootless
from tests.node import engines
from tests.system import listing, local

REASON = engines.missing() or rootless.reason_against()
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(REASON), reason=REASON or "-")]
SERVE = 'CMD ["httpd","-f","-v","-p","8080","-h","/srv"]'
APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: localhost/flweb:1
        ports: [{containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: 8080}}
        resources: {limits: {memory: 64Mi}}
        volumeMounts: [{name: site, mountPath: /srv}]
      volumes: [{name: site, configMap: {name: site}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data: {index.html: hello from a volume}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
OTHER = """
apiVersion: v1
kind: Pod
metadata: {name: other}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: "localhost/flother:1"}]
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[local.Local]:
    """One that is not started; the user has the application's image."""
    with engines.user_images(flweb=(SERVE,)) as conf:
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
        made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "rootless")
        try:
            yield made
        finally:
            local.remove(made)


def containers_of(cluster: local.Local) -> dict[str, tuple[str, str, int]]:
    """Address, container and restarts of each pod of the application."""
    pods = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    statuses = {
        pod["metadata"]["name"]: (pod["status"]["podIP"], pod["status"]["containerStatuses"][0]) for pod in pods
    }
    return {name: (ip, one["containerID"], one["restartCount"]) for name, (ip, one) in statuses.items()}


def page(cluster: local.Local) -> str:
    return cluster.fairlead("curl", "--name", cluster.name, "-s", "http://web/").stdout


def test_the_users_images_serve_are_adopted_and_leave_nothing(cluster: local.Local) -> None:
    before = listing.take()
    cluster.up("-", stdin=APP)
    pods = containers_of(cluster)
    assert len(pods) == 2
    assert all(container.startswith("container://") for _, container, _ in pods.values())
    assert page(cluster) == "hello from a volume"
    assert cluster.kubectl("exec", min(pods), "--", "id").startswith("uid=0")
    assert "response:200" in cluster.kubectl("logs", "-l", "app=web")
    assert "containers have no cgroups" in cluster.kubectl("events", "--types=Warning")
    engines.add_image(Path(os.environ["CONTAINERS_STORAGE_CONF"]).parent, "flother", (SERVE, "USER 1000"))
    cluster.kubectl("apply", "-f", "-", stdin=OTHER)
    cluster.kubectl("wait", "pod/other", "--for=jsonpath={.status.containerStatuses[0].state.waiting.message}")
    assert 'is to run as user "1000"' in cluster.kubectl("get", "pod/other", "-o", "yaml")
    os.kill(cluster.state.holder(), signal.SIGKILL)
    cluster.up()
    assert containers_of(cluster) == pods
    assert page(cluster) == "hello from a volume"
    os.kill(cluster.state.holder(), signal.SIGKILL)  # what `down` finds then, nobody has stopped
    assert "ended conmon" in cluster.down("--purge").stdout
    assert not cluster.state.path.exists()
    assert listing.left(before, listing.take()) == {}
