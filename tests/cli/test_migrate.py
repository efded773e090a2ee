"""`fairlead migrate ingress-nginx` as a user runs it: its words and its exit status."""

import json
import pathlib

import pytest
from click import testing

from fairlead.cli import migrate

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations: {%s}
spec:
  ingressClassName: nginx
  rules:
    - host: shop.example
      http:
        paths:
          - path: /api(/|$)(.*)
            pathType: ImplementationSpecific
            backend: {service: {name: api, port: {name: http}}}
"""


def run(text: str, *options: str) -> testing.Result:
    return testing.CliRunner().invoke(migrate.command, ["ingress-nginx", "-f", "-", *options], input=text)


def annotated(**annotations: str) -> str:
    words = (f'"nginx.ingress.kubernetes.io/{k.replace("_", "-")}": "{v}"' for k, v in annotations.items())
    return INGRESS % ", ".join(words)


@pytest.mark.parametrize(
    ("annotations", "status", "words"),
    [
        ({"rewrite_target": "/$2", "proxy_buffer_size": "8k"}, 0, "1 the same"),
        ({"use_regex": "true", "ssl_ciphers": "HIGH"}, 1, "modern ciphers"),
        ({"use_regex": "true", "configuration_snippet": "return 200;"}, 2, "never becomes configuration"),
        ({"use_regex": "true", "proxy_body_size": "8 MB"}, 2, "is not a size"),
        ({"use_regex": "true", "colour": "blue"}, 2, "nothing that ingress-nginx documents"),
        ({"use_regex": "true", "auth_url": "http://127.0.0.1/x"}, 2, "this machine itself"),
    ],
    ids=lambda found: " ".join(found) if isinstance(found, dict) else "",
)
def test_the_exit_status_is_the_worst_verdict(annotations: dict[str, str], status: int, words: str) -> None:
    result = run(annotated(**annotations))
    assert result.exit_code == status, result.output
    assert words in result.output
    assert "taken to exist, not among these manifests: Service/default/api" in result.output


def test_a_path_that_cannot_be_carried_is_refused_object_by_object() -> None:
    bad = annotated(use_regex="true").replace("/api(/|$)(.*)", "/(?!api).*")
    result = run(bad + "---" + annotated().replace("shop", "other").replace("/api(/|$)(.*)", "/"), "-o", "json")
    report = json.loads(result.output)
    assert [(one["object"], one["verdict"]) for one in report["items"]] == [
        ("Ingress/default/other", "same"),
        ("Ingress/default/shop", "refused"),
    ]
    assert "looks ahead" in report["items"][1]["notes"][0]["text"]
    assert result.exit_code == 2


def test_the_controllers_configmap_is_judged_too(tmp_path: pathlib.Path) -> None:
    config = """
apiVersion: v1
kind: ConfigMap
metadata: {name: ingress-nginx-controller, namespace: ingress-nginx}
data: {proxy-body-size: 8m, worker-processes: "4", use-gzip: "true", http-snippet: "x"}
"""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "config.yaml").write_text(config)
    (tmp_path / "ingress.yml").write_text(annotated(use_regex="true"))
    result = testing.CliRunner().invoke(migrate.command, ["ingress-nginx", "-f", str(tmp_path), "-q"])
    assert result.exit_code == 2
    assert "use-gzip: is refused: responses are not compressed" in result.output
    assert "worker-processes" not in result.output


def test_ingresses_of_other_classes_are_named_and_left_out() -> None:
    result = run(annotated(server_snippet="x").replace("ingressClassName: nginx", "ingressClassName: traefik"))
    assert result.exit_code == 0
    assert "not of class nginx: Ingress/default/shop (class traefik)" in result.output


def test_what_cannot_be_read_is_status_3() -> None:
    result = run("a: [")
    assert result.exit_code == 3
    assert run("kind: Ingress").exit_code == 3


def test_a_wrong_type_is_a_refusal_not_a_crash() -> None:
    result = run(annotated().replace("host: shop.example", "host: [shop]"))
    assert result.exit_code == 2
    assert "spec.rules[0].host: must be a string" in result.output


def test_the_image_map_and_a_kustomization_beside_the_manifests_are_passed_over(tmp_path: pathlib.Path) -> None:
    for name in ("fairlead.yaml", "kustomization.yaml", "Chart.yaml"):
        (tmp_path / name).write_text("images: {}\n")
    (tmp_path / "folder.yaml").mkdir()
    done = testing.CliRunner().invoke(migrate.command, ["ingress-nginx", "-f", str(tmp_path)])
    assert done.exit_code == 0, done.output
