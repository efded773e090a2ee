"""`explain` and `status` tell what is true: the rule that matched, the candidates, who was left out and why."""

from __future__ import annotations

import json

import pytest

from tests.system import local

pytestmark = pytest.mark.system


def pods_of(my_app: local.Local) -> list[str]:
    return my_app.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}").split()


def test_a_url_is_explained_by_its_rule_and_its_candidates(my_app: local.Local) -> None:
    said = my_app.fairlead("explain", "--name", my_app.name, "http://my-app.localhost/").stdout
    assert "forwarded by Ingress/default/my-app" in said
    assert all(f"default/{pod}" in said for pod in pods_of(my_app))
    said = my_app.fairlead("explain", "--name", my_app.name, "http://nobody.localhost/").stdout
    assert said.startswith("404: no rule matches nobody.localhost/")
    said = my_app.fairlead("explain", "--name", my_app.name, "https://my-app.localhost/").stdout
    assert "forwarded by Ingress/default/my-app" in said  # with the edge's own certificate


def test_the_url_of_a_service_is_explained_as_the_service(my_app: local.Local) -> None:
    for url in ("http://my-app-service/", "http://my-app-service.default.svc.cluster.local/x"):
        said = my_app.fairlead("explain", "--name", my_app.name, url).stdout
        assert "that host is the Service default/my-app-service" in said
        assert "carried by Service/default/my-app-service" in said


def test_a_pod_that_is_left_out_says_why(my_app: local.Local) -> None:
    pod = pods_of(my_app)[0]
    assert (
        "candidate of default/my-app-service:80"
        in my_app.fairlead("explain", "--name", my_app.name, f"pod/{pod}").stdout
    )
    container = {"name": "c", "image": "nobody-has-this"}
    lonely = json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lonely"}, "spec": {"containers": [container]}}
    )
    my_app.kubectl("apply", "-f", "-", stdin=lonely)
    said = my_app.fairlead("explain", "--name", my_app.name, "pod/lonely").stdout
    assert "Ready is False" in said
    assert "no Service selects it" in said
    my_app.kubectl("delete", "pod", "lonely", "--wait=true")


def test_an_autoscaler_tells_what_it_measured(my_app: local.Local) -> None:
    said = my_app.fairlead("explain", "--name", my_app.name, "hpa/my-app").stdout
    assert "scales Deployment/my-app between 3 and 10" in said
    assert "AbleToScale True" in said
    assert "asks for" in said or "cannot tell" in said


def test_status_says_network_addresses_and_pods(my_app: local.Local) -> None:
    said = my_app.fairlead("status", "--name", my_app.name).stdout
    assert f"network   {my_app.network}: asked for with --network" in said
    assert f"http://my-app.localhost:{my_app.edge_port}/" in said
    assert "this machine only" in said
    assert "3/3 ready" in said


def test_logs_of_a_deployment_name_each_pod(my_app: local.Local) -> None:
    said = my_app.fairlead("logs", "--name", my_app.name, "deployment/my-app").stdout
    assert all(f"{pod} | listening on" in said for pod in pods_of(my_app))
    owner = my_app.kubectl("get", "rs", "-o", "name").strip().replace("replicaset.apps/", "rs/")
    assert my_app.fairlead("logs", "--name", my_app.name, owner, "--tail", "1").stdout.count(" | ") == 3
    refused = my_app.fairlead("logs", "--name", my_app.name, "service/my-app-service", check=False)
    assert "POD or one of deployment/NAME, statefulset/NAME" in refused.stderr


def test_what_is_not_there_is_said_in_one_line(my_app: local.Local) -> None:
    done = my_app.fairlead("explain", "--name", my_app.name, "service/nobody", check=False)
    assert done.returncode == 1
    assert 'services "nobody" not found' in done.stderr
    done = my_app.fairlead("logs", "--name", "never-started", "pod", check=False)
    assert "does not run" in done.stderr
