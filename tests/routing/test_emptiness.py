"""Why a Service has no endpoint: a table of Services and pods, and the sentence that a user reads."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.routing import emptiness


def pod(labels: dict[str, str], *ports: str) -> dict[str, Any]:
    containers = [{"name": "c", "ports": [{"name": name, "containerPort": 80} for name in ports]}]
    return {"metadata": {"name": "p", "labels": labels}, "spec": {"containers": containers}}


WEB = pod({"app": "web", "tier": "front"}, "web")
CASES = [
    ({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "web"}]}, [WEB], ""),
    ({"selector": {"app": "web"}, "ports": [{"port": 80}]}, [WEB], ""),
    (
        {"selector": {"app": "wbe"}},
        [WEB, pod({"app": "db"}), pod({"other": "x"})],
        "spec.selector app=wbe fits no pod; pods of this namespace have app=db, app=web",
    ),
    ({"selector": {"app": "web"}}, [pod({})], "spec.selector app=web fits no pod"),
    ({"selector": {"app": "web"}}, [], "spec.selector app=web fits no pod; its namespace has none"),
    (
        {"selector": {"app": "web"}, "ports": [{"port": 1}, {"port": 80, "targetPort": "http"}]},
        [WEB],
        "spec.ports[1].targetPort: no container of its pods has a port named 'http' (they have web)",
    ),
    (
        {"selector": {"app": "db"}, "ports": [{"port": 80, "targetPort": "http"}]},
        [pod({"app": "db"})],
        "spec.ports[0].targetPort: no container of its pods has a port named 'http' (their ports have no names)",
    ),
    ({}, [WEB], "spec.selector is missing: only EndpointSlices that you write give it endpoints"),
    ({"type": "ExternalName", "externalName": "x.example"}, [], ""),
    ({"selector": {"app": "side"}, "ports": [{"port": 80, "targetPort": "in"}]},
     [{"metadata": {"labels": {"app": "side"}}, "spec": {"initContainers": [{"ports": [{"name": "in"}]}]}}], ""),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "pods", "words"), CASES)
def test_a_service_without_endpoints_is_explained(spec: dict[str, Any], pods: list[Any], words: str) -> None:
    assert emptiness.reason({"metadata": {"name": "s"}, "spec": spec}, pods) == words
