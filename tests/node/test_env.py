"""Environments as the kubelet makes them."""

import base64

import pytest

from fairlead.node import env, expand

POD = {
    "metadata": {
        "name": "web-1", "namespace": "shop", "uid": "u1", "labels": {"app": "web", "a/b": 'say "hi"'},
        "annotations": {"note": "x"},
    },
    "spec": {"nodeName": "n1", "containers": [{"name": "app"}]},
}  # fmt: skip


def facts(**more):
    return env.Facts(POD, "n1", "10.0.0.1", "10.244.0.5", 4.0, 8 << 30, **more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$(MISSING)", "$(MISSING)"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"),
        ("$", "$"), ("$$", "$"), ("$(A", "$(A"), ("$A", "$A"), ("", ""),
    ],
)  # fmt: skip
def test_references_are_expanded_as_kubernetes_does(text, expected):
    assert expand.expand(text, {"A": "1", "B": "2"}) == expected


def test_later_entries_see_earlier_ones_and_win_over_the_base():
    container = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(BASE)"}, {"name": "BASE"}]}
    assert env.build(container, facts(), {"BASE": "b"}) == {"A": "1", "B": "1b", "BASE": ""}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web-1"), ("metadata.namespace", "shop"), ("metadata.uid", "u1"), ("spec.nodeName", "n1"),
        ("status.podIP", "10.244.0.5"), ("status.hostIP", "10.0.0.1"), ("spec.serviceAccountName", "default"),
        ("metadata.labels['app']", "web"), ("metadata.annotations['none']", ""),
        ("metadata.labels", 'a/b="say \\"hi\\""\napp="web"'),
    ],
)  # fmt: skip
def test_fields_of_the_downward_api(path, expected):
    assert env.field_value(path, facts()) == expected


def test_an_unknown_field_is_a_problem():
    with pytest.raises(env.EnvProblem, match=r"spec\.volumes"):
        env.field_value("spec.volumes", facts())


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "1", "1"), ("limits.cpu", "1m", "250"), ("requests.cpu", "1m", "0"),
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", "1", str(64 << 20)),
    ],
)  # fmt: skip
def test_resources_are_rounded_up_in_units_of_the_divisor(resource, divisor, expected):
    container = {"name": "app", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}
    assert env.resource_value({"resource": resource, "divisor": divisor}, container, facts()) == expected


def test_a_missing_limit_is_the_nodes():
    assert env.resource_value({"resource": "limits.cpu"}, {"name": "app"}, facts()) == "4"


def objects():
    return {
        ("ConfigMap", "conf"): {"data": {"K": "v", "x.y": "z"}},
        ("Secret", "keys"): {"data": {"T": base64.b64encode(b"s").decode()}},
        ("ConfigMap", "none"): None,
    }


def test_whole_objects_come_with_a_prefix_and_env_wins():
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "keys"}}],
        "env": [{"name": "T", "value": "own"}],
    }
    assert env.references(container) == {("ConfigMap", "conf"), ("Secret", "keys")}
    assert env.build(container, facts(objects=objects()), {}) == {"P_K": "v", "P_x.y": "z", "T": "own"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "K"}}}]}, '"none" not found'),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "Q"}}}]},
         "couldn't find key Q in Secret shop/keys"),
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, '"none" not found'),
        ({"env": [{"name": "A", "valueFrom": {"fileKeyRef": {}}}]}, "fileKeyRef"),
    ],
)  # fmt: skip
def test_what_is_missing_is_a_problem_unless_optional(entry, message):
    with pytest.raises(env.EnvProblem, match=message):
        env.build(entry, facts(objects=objects()), {})


def test_optional_references_may_be_missing():
    container = {
        "envFrom": [{"configMapRef": {"name": "none", "optional": True}}],
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "K", "optional": True}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "Q", "optional": True}}},
        ],
    }
    assert env.build(container, facts(objects=objects()), {}) == {}


def test_services_give_dockers_link_variables():
    service = {
        "metadata": {"name": "my-db"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "sql", "port": 5432}, {"name": "web-ui", "port": 80}]},
    }
    headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}
    found = env.service_variables([service, headless])
    assert found["MY_DB_SERVICE_HOST"] == "10.96.0.7"
    assert found["MY_DB_SERVICE_PORT"] == "5432"
    assert found["MY_DB_SERVICE_PORT_WEB_UI"] == "80"
    assert found["MY_DB_PORT"] == found["MY_DB_PORT_5432_TCP"] == "tcp://10.96.0.7:5432"
    assert found["MY_DB_PORT_80_TCP_ADDR"] == "10.96.0.7"
    service["spec"]["clusterIP"] = "fd00::7"
    assert env.service_variables([service])["MY_DB_PORT"] == "tcp://[fd00::7]:5432"
    assert not any(name.startswith("H_") for name in found)
