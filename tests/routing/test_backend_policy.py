"""BackendPolicy: whom it is for, who wins, what its status says."""

from typing import Any

import pytest

from fairlead.routing import policy_fields, settings, table, translate


def service(name: str = "web", **annotations: str) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": name, "annotations": {f"fairlead.dev/{k}": v for k, v in annotations.items()}}
    ports = [{"name": "http", "port": 80, "appProtocol": "http"}, {"name": "raw", "port": 81}]
    return {"kind": "Service", "metadata": meta, "spec": {"clusterIP": "127.96.0.9", "ports": ports}}


def ingress(name: str = "web", **spec: Any) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    rules = [{"host": f"{name}.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    return {"kind": "Ingress", "metadata": {"namespace": "shop", "name": name}, "spec": {"rules": rules, **spec}}


def policy(name: str, *targets: dict[str, str], age: int = 0, **spec: Any) -> dict[str, Any]:
    refs = targets or ({"kind": "Service", "name": "web"},)
    meta = {"namespace": "shop", "name": name, "generation": 3, "creationTimestamp": f"2026-01-01T00:00:{age:02}Z"}
    return {"kind": "BackendPolicy", "metadata": meta, "spec": {"targetRefs": list(refs), **spec}}


def translated(*objects: dict[str, Any]) -> translate.Translation:
    kinds = {"Service": "services", "Ingress": "ingresses", "BackendPolicy": "backend_policies"}
    fields: dict[str, list[dict[str, Any]]] = {}
    for one in objects:
        fields.setdefault(kinds[one["kind"]], []).append(one)
    return translate.translate(translate.Snapshot(**fields), settings.Settings(ingress_nginx=True))


def backend(translation: translate.Translation, name: str) -> table.Backend:
    return translation.structure.backends[f"shop/{name}"]


def conditions(translation: translate.Translation) -> dict[str, list[tuple[str, str]]]:
    """Policy -> status and reason for each of its targets."""
    return {
        status.name: [
            (condition["status"], condition["reason"])
            for ancestor in status.status["ancestors"]
            for condition in ancestor["conditions"]
        ]
        for status in translation.statuses
        if status.kind == "BackendPolicy"
    }


def test_every_field_reaches_the_backend() -> None:
    translation = translated(
        service(),
        policy(
            "all", algorithm="maglev", hashOn="header:X-User+path", slowStartSeconds=30, panicThreshold=50,
            loadBound=1.25, spillFactor=4,
            affinity={"kind": "cookie", "cookie": "sid", "sameSite": "Lax"},
            health={"kind": "http", "path": "/ok", "intervalSeconds": 2, "unhealthyThreshold": 5},
            outlier={"consecutiveErrors": 7, "ejectionSeconds": 1.5}, retry={"attempts": 4, "on": ["connect", "5xx"]},
            timeouts={"connectSeconds": 0.5, "requestSeconds": 9, "idleSeconds": 0, "connectionAgeSeconds": 60},
            limits={"endpointRequests": 100},
        ),
    )  # fmt: skip
    found = backend(translation, "web:http/http")
    assert (found.load_bound, found.spill_factor, found.panic_threshold) == (1.25, 4, 50)
    assert (found.algorithm, found.hash_on, found.slow_start_seconds) == ("maglev", "header:X-User+path", 30)
    assert found.affinity == table.Affinity(kind="cookie", cookie="sid", same_site="Lax")
    assert found.health == table.ActiveHealth(path="/ok", interval_seconds=2, unhealthy_threshold=5)
    assert found.outlier == table.Outlier(consecutive_errors=7, ejection_seconds=1.5)
    assert found.retry == table.Retry(attempts=4, on=("connect", "5xx"))
    times = {"connect_seconds": 0.5, "request_seconds": 9, "connection_age_seconds": 60}
    assert found.timeouts == table.Timeouts(idle_seconds=0, **times) != table.Timeouts(**times)
    assert found.limits == table.Limits(endpoint_requests=100)
    assert conditions(translation) == {"all": [("True", "Accepted")]}
    status = next(one.status for one in translation.statuses if one.kind == "BackendPolicy")
    assert status["ancestors"][0]["ancestorRef"] == {"kind": "Service", "name": "web", "namespace": "shop"}
    assert status["ancestors"][0]["conditions"][0]["observedGeneration"] == 3


def test_a_port_goes_before_the_whole_and_an_annotation_before_both() -> None:
    whole = policy("whole", algorithm="random", slowStartSeconds=5)
    part = policy("part", {"kind": "Service", "name": "web", "sectionName": "http"}, algorithm="ewma")
    translation = translated(service(), whole, part)
    assert backend(translation, "web:http/http").algorithm == "ewma"
    assert backend(translation, "web:http/http").slow_start_seconds == 5
    assert backend(translation, "web:raw").algorithm == "random"
    annotated = translated(service(algorithm="prequal"), whole, part)
    assert backend(annotated, "web:http/http").algorithm == "prequal"


def test_of_two_for_one_target_the_oldest_wins_and_the_other_is_told() -> None:
    translation = translated(
        service(), policy("b-old", age=1, algorithm="ewma"), policy("a-new", age=2, algorithm="random")
    )
    assert backend(translation, "web:http/http").algorithm == "ewma"
    assert conditions(translation) == {"b-old": [("True", "Accepted")], "a-new": [("False", "Conflicted")]}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({"kind": "Service", "name": "nobody"}, "TargetNotFound"),
        ({"kind": "Service", "name": "web", "sectionName": "https"}, "TargetNotFound"),
        ({"group": "apps", "kind": "Deployment", "name": "web"}, "Invalid"),
    ],
)
def test_a_target_that_cannot_be(target: dict[str, str], reason: str) -> None:
    translation = translated(service(), policy("p", target, {"kind": "Service", "name": "web"}, algorithm="ewma"))
    assert conditions(translation) == {"p": [("False", reason), ("True", "Accepted")]}
    assert backend(translation, "web:http/http").algorithm == "ewma"


def test_an_ingress_policy_is_for_its_backends_alone() -> None:
    target = {"group": "networking.k8s.io", "kind": "Ingress", "name": "mine"}
    for spec in ({}, {"ingressClassName": "nginx"}):
        translation = translated(
            service(), ingress("mine", **spec), ingress("other"), policy("p", target, algorithm="ewma")
        )
        routes = {
            route.hosts: route.backends[0].backend for route in translation.structure.routes.values() if route.hosts
        }
        mine = routes["mine.example",]
        assert mine.startswith("shop/web:http/http@mine~")
        assert translation.structure.backends[mine].algorithm == "ewma"
        assert backend(translation, "web:http/http").algorithm == ""


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"algorithm": "magic"}, "spec.algorithm"),
        ({"color": "blue"}, "spec.color"),
        ({"slowStartSeconds": "5"}, "spec.slowStartSeconds"),
        ({"health": {"port": 70000}}, "spec.health.port"),
        ({"health": []}, "spec.health"),
        ({"retry": {"on": ["sometimes"]}}, "spec.retry.on[0]"),
        ({"hashOn": "path"}, "spec.hashOn"),
        ({"algorithm": "hash", "hashOn": "header:X Y"}, "spec.hashOn"),
        ({"affinity": {"kind": "cookie"}}, "spec.affinity.cookie"),
        ({"limits": {"maxWaiting": 1.5}}, "spec.limits.maxWaiting"),
        ({"algorithm": "maglev", "loadBound": 0.5}, "spec.loadBound"),
        ({"algorithm": "ewma", "loadBound": 1.5}, "spec.loadBound"),
        ({"health": {"service": "a.B"}}, "spec.health.service"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_of_the_policy_is_used(spec: dict[str, Any], path: str) -> None:
    translation = translated(service(), policy("p", panicThreshold=10, **spec))
    assert conditions(translation) == {"p": [("False", "Invalid")]}
    assert [problem.path for problem in translation.problems if problem.object.startswith("BackendPolicy")] == [path]
    assert backend(translation, "web:http/http").panic_threshold == 0


def test_every_field_of_the_table_has_a_struct_behind_it() -> None:
    for field, kind in policy_fields.SPEC.values():
        assert field in table.Backend.__struct_fields__
        if isinstance(kind, policy_fields.Group):
            assert {name for name, _ in kind.parts.values()} <= set(kind.struct.__struct_fields__)
