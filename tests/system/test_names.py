"""A Service's name works from a shell: `fairlead resolve` and `fairlead curl`, in every network mode."""

from __future__ import annotations

import json

import pytest

from tests.system import local

pytestmark = pytest.mark.system


def test_a_service_resolves_to_its_address_by_every_name_a_pod_would_use(my_app: local.Local) -> None:
    address = my_app.kubectl("get", "service", "my-app-service", "-o", "jsonpath={.spec.clusterIP}")
    for name in ("my-app-service", "my-app-service.default", "my-app-service.default.svc.cluster.local"):
        said = my_app.fairlead("resolve", "--name", my_app.name, name).stdout
        assert said == f"my-app-service.default.svc.cluster.local. 5 A {address}\n"


def test_a_service_of_another_namespace_needs_its_namespace(my_app: local.Local) -> None:
    done = my_app.fairlead("resolve", "--name", my_app.name, "-n", "kube-system", "my-app-service", check=False)
    assert done.returncode == 1
    assert "my-app-service.kube-system.svc.cluster.local" in done.stderr


def test_a_headless_service_resolves_to_its_pods_and_changes_with_them(my_app: local.Local) -> None:
    labels = json.loads(my_app.kubectl("get", "service", "my-app-service", "-o", "json"))["spec"]["selector"]
    headless = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "each"},
        "spec": {"clusterIP": "None", "selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }
    my_app.kubectl("apply", "-f", "-", stdin=json.dumps(headless))
    try:
        my_app.kubectl("wait", "--for=jsonpath={.endpoints[2].conditions.ready}=true", "endpointslice", "-l",
                       "kubernetes.io/service-name=each", "--timeout=30s")  # fmt: skip
        path = "jsonpath={range .items[*]}{.status.podIP}{'\\n'}{end}"
        pods = set(my_app.kubectl("get", "pods", "-o", path).split())
        said = my_app.fairlead("resolve", "--name", my_app.name, "each").stdout
        assert {line.split()[-1] for line in said.splitlines()} == pods
        srv = my_app.fairlead("resolve", "--name", my_app.name, "-t", "SRV", "_http._tcp.each").stdout
        assert len(srv.splitlines()) == len(pods)
    finally:
        my_app.kubectl("delete", "service", "each")


def test_curl_reaches_a_service_by_its_name_and_port(my_app: local.Local) -> None:
    pods = my_app.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}").split()
    said = {
        my_app.fairlead("curl", "--name", my_app.name, "-sf", "http://my-app-service/").stdout.strip() for _ in range(6)
    }
    assert all(any(pod in answer for answer in said) for pod in pods), said


def test_a_name_that_nobody_has_is_said_with_what_was_tried(my_app: local.Local) -> None:
    done = my_app.fairlead("resolve", "--name", my_app.name, "nobody.default.svc.cluster.local.", check=False)
    assert done.returncode == 1
    assert "nobody.default.svc.cluster.local." in done.stderr
    assert my_app.fairlead("curl", "--name", my_app.name, "-s", "http://nobody.invalid/", check=False).returncode == 6
