"""`fairlead up --dry-run` says what would come of the manifests, and starts and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click import testing

from fairlead.cli import main, rehearse

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: "web:1", ports: [{name: http, containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  rules:
  - host: web.localhost
    http:
      paths:
      - {path: /api, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
      - {path: /, pathType: Exact, backend: {service: {name: wbe, port: {number: 80}}}}
"""
POLICY = """
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {}}
"""


def dry(folder: Path, text: str, *more: str) -> tuple[int, list[str]]:
    (folder / "web.yaml").write_text(text)
    words = ["up", "--dry-run", "--name", "rehearsed", str(folder / "web.yaml"), *more]
    done = testing.CliRunner().invoke(main.main, words, env={"FAIRLEAD_STATE": str(folder / "state")})
    return done.exit_code, done.output.splitlines()


def test_what_would_be_made_and_where_requests_would_go(tmp_path: Path) -> None:
    code, said = dry(tmp_path, WEB, "--http", ":8123", "--image", "web:*=python3 app.py")
    assert code == 0
    assert said[:4] == ["create    Namespace/shop", "create    Service/shop/web", "create    Deployment/shop/web",
                        "create    Ingress/shop/web"]  # fmt: skip
    assert "route     http://web.localhost:8123/api (Prefix) -> Service/shop/web:http" in said
    assert "image     web:1: python3 app.py" in said
    assert said[-1] == "nothing was started or changed (--dry-run)"
    assert not (tmp_path / "state").exists()


def test_a_dual_stack_service_is_no_mistake_where_both_families_are_to_be(tmp_path: Path) -> None:
    both = WEB.replace("spec: {selector", "spec: {ipFamilyPolicy: RequireDualStack, selector")
    assert dry(tmp_path, both)[0] == 0
    code, said = dry(tmp_path, both, "--ip-family", "ipv4")
    assert code == 1 and any("Service/shop/web" in line for line in said)


def test_every_mistake_is_told(tmp_path: Path) -> None:
    code, said = dry(tmp_path, WEB.replace("targetPort: http", "targetPort: htpp") + POLICY)
    assert code == 0
    text = "\n".join(said)
    assert "no container of its pods has a port named 'htpp' (they have http)" in text
    assert "NetworkPolicy is stored but not enforced" in text
    assert "wbe" in text.partition("warning")[2], "a Service that is not there"
    assert "image     web:1: nothing maps it to a command; Podman or Docker has to run it" in said


def test_a_selector_that_no_template_fits_is_told(tmp_path: Path) -> None:
    _, said = dry(tmp_path, WEB.replace("selector: {app: web}, ports", "selector: {app: wbe}, ports"))
    assert any("spec.selector app=wbe fits no pod; pods of this namespace have app=web" in line for line in said)


def test_what_would_be_refused_is_an_error(tmp_path: Path) -> None:
    code, said = dry(tmp_path, WEB.replace("replicas: 2", "replicass: 2"))
    assert code == 1
    assert any("web.yaml:2: Deployment/shop/web" in line and "spec.replicass" in line for line in said)


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, ["a.b[1].c"]),
        ({"a": [1]}, {"a": [1, 2], "d": 1}, ["a", "d"]),
        ({"a": 1}, {}, ["a"]),
    ],
)
def test_changes_are_field_paths(old: object, new: object, paths: list[str]) -> None:
    assert list(rehearse.changes(old, new)) == paths
