"""helm against a whole cluster: a chart with a CRD, a hook and a test is installed, upgraded, rolled back, removed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import local

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("helm") is None, reason="no helm, and no Go that could build one (scripts/helm)"),
]
CHART = Path(__file__).parent / "chart"


class Helm:
    """`helm(...)` on one cluster; returns its standard output."""

    def __init__(self, cluster: local.Local, home: Path) -> None:
        self._environment = {**cluster.environment(), "HOME": str(home)}

    def __call__(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["helm", *words], env=self._environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert not check or done.returncode == 0, f"helm {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "loopback")
    try:
        made.up()
        yield made
    finally:
        local.remove(made)


@pytest.fixture
def helm(cluster: local.Local, tmp_path: Path) -> Helm:
    return Helm(cluster, tmp_path)


def _replicas(cluster: local.Local) -> str:
    return cluster.kubectl("get", "deploy", "nap", "-o", "jsonpath={.spec.replicas} {.status.availableReplicas}")


def test_a_chart_lives_its_whole_life(cluster: local.Local, helm: Helm) -> None:
    waiting = ("--wait", "--timeout", "90s")
    assert "STATUS: deployed" in helm("install", "nap", str(CHART), *waiting)
    assert _replicas(cluster) == "1 1"
    config = json.loads(cluster.kubectl("get", "configmap", "nap", "-o", "jsonpath={.data}"))
    assert config["greeting"] == "hello" and config["known"] == "default" and config["cluster"].startswith("v1.")
    assert cluster.kubectl("get", "nap", "nap", "-o", "jsonpath={.spec.minutes}") == "20"
    assert "Phase:          Succeeded" in helm("test", "nap", "--timeout", "60s")

    assert "REVISION: 2" in helm("upgrade", "nap", str(CHART), "--set", "replicas=3,greeting=bye", *waiting)
    assert _replicas(cluster) == "3 3"
    assert cluster.kubectl("get", "configmap", "nap", "-o", "jsonpath={.data.greeting}") == "bye"
    assert "greeting: bye" in helm("get", "values", "nap")

    helm("rollback", "nap", "1", *waiting)
    assert _replicas(cluster) == "1 1"
    assert [one["status"] for one in json.loads(helm("history", "nap", "-o", "json"))] == [
        "superseded",
        "superseded",
        "deployed",
    ]
    assert json.loads(helm("list", "-o", "json"))[0]["revision"] == "3"
    assert "kind: Deployment" in helm("get", "manifest", "nap")

    assert "uninstalled" in helm("uninstall", "nap", *waiting)
    assert cluster.kubectl("get", "deploy,configmap,nap", "-o", "name").split() == ["configmap/kube-root-ca.crt"]
    assert "release: not found" in helm("status", "nap", check=False)


def test_what_the_server_refuses_reaches_the_user(cluster: local.Local, helm: Helm) -> None:
    assert "replicas" in helm("install", "bad", str(CHART), "--set", "replicas=-1", check=False)
    text = helm("install", "bad", str(CHART), "--set", "replicas=-1", "--skip-schema-validation", check=False)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in text
    helm("uninstall", "bad", check=False)
    assert "STATUS: pending-install" in helm("install", "dry", str(CHART), "--dry-run=server")
    assert "dry" not in cluster.kubectl("get", "deploy", "-o", "name")


def test_template_and_lint_need_no_server(helm: Helm) -> None:
    assert "replicas: 2" in helm("template", "nap", str(CHART), "--set", "replicas=2", "--include-crds")
    assert "0 chart(s) failed" in helm("lint", str(CHART))
