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
    assert "use-gzip: responses are not compressed" in result.output
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


def folder(path: pathlib.Path, *options: str, **files: str) -> testing.Result:
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    return testing.CliRunner().invoke(migrate.command, ["ingress-nginx", "-f", str(path), *options])


TEMPLATE = 'apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {{ include "app" . }}\n  {{- end }}\n'


def test_a_file_that_cannot_be_read_leaves_the_others_to_be_judged(tmp_path: pathlib.Path) -> None:
    done = folder(tmp_path, template=TEMPLATE, good=annotated(use_regex="true"))
    assert done.exit_code == 3
    assert "same     Ingress/default/shop" in done.output
    assert "helm template" in done.output
    assert f"({tmp_path}/good.yaml:2)" in done.output


V1BETA1 = """
apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: old
  annotations: {kubernetes.io/ingress.class: nginx, nginx.ingress.kubernetes.io/secure-backends: "true"}
spec:
  backend: {serviceName: rest, servicePort: "8080"}
  rules:
  - host: old.example
    http:
      paths:
      - {path: /a, backend: {serviceName: app, servicePort: 8443}}
      - {backend: {serviceName: web, servicePort: http}}
"""


def test_an_ingress_of_an_older_version_is_judged_as_what_it_would_be_today() -> None:
    done = run(V1BETA1, "-o", "json")
    [item] = json.loads(done.output)["items"]
    assert [(note["verdict"], note["path"].rpartition("/")[2]) for note in item["notes"]] == [
        ("refused", "apiVersion"),
        ("same", "secure-backends"),
    ]
    assert "gone since Kubernetes 1.22" in item["notes"][0]["text"]
    assert json.loads(done.output)["assumed"] == [f"Service/default/{name}" for name in ("app", "rest", "web")]


def test_values_that_are_no_strings_are_told_as_an_api_server_would() -> None:
    text = (
        annotated(use_regex="true")
        .replace('"true"}', "true}")
        .replace("{", "{nginx.ingress.kubernetes.io/app-root: 5, ", 1)
    )
    done = run(text)
    assert done.exit_code == 2
    assert 'use-regex: is no string, and no API server takes it: write "true"' in done.output
    assert 'app-root: is no string, and no API server takes it: write "5"' in done.output


def test_passwords_of_a_secret_that_is_not_given_are_taken_to_be_good() -> None:
    done = run(annotated(use_regex="true", auth_type="basic", auth_secret="staff"))
    assert done.exit_code == 0, done.output
    assert "Secret/default/staff" in done.output


DEFAULT_CLASS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}}
spec: {controller: k8s.io/ingress-nginx}
"""


def test_an_ingress_without_a_class_is_told() -> None:
    text = annotated(use_regex="true").replace("  ingressClassName: nginx\n", "")
    assert run(text).exit_code == 1
    assert run(f"{text}---\n{DEFAULT_CLASS}").exit_code == 0


def test_a_list_of_ingresses_as_the_api_gives_it() -> None:
    items = annotated(use_regex="true").replace("apiVersion: networking.k8s.io/v1\nkind: Ingress\n", "")
    indented = "".join(f"  {line}\n" for line in items.strip().splitlines())
    done = run(f"apiVersion: networking.k8s.io/v1\nkind: IngressList\nitems:\n-{indented[1:]}")
    assert (done.exit_code, "same     Ingress/default/shop" in done.output) == (0, True), done.output


def test_what_lies_beside_is_hinted_at(tmp_path: pathlib.Path) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}, namespace: web}}\ndata: {{'5432': db/pg:5432}}\n"
    done = folder(
        tmp_path, one=annotated(use_regex="true"), two=annotated(use_regex="true"),
        release=config.format("my-ingress-nginx-controller"), tcp=config.format("tcp-services"),
    )  # fmt: skip
    for words in ("--config web/my-ingress-nginx-controller", "tcp-services is not read", "shop is given 2 times"):
        assert words in done.output, done.output


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"proxy_body_sizes": "8m"}, "is proxy-body-size meant?"),
        ({"configuration_snippet": "more_set_headers X;"}, "custom-headers sets an answer's fields; its paths"),
        ({"proxy_read_timeout": "300s"}, "it counts for nothing"),
    ],
    ids=["a typo", "a snippet", "a value"],
)  # fmt: skip
def test_a_refusal_says_what_to_do_or_what_follows(annotations: dict[str, str], words: str) -> None:
    assert words in run(annotated(use_regex="true", **annotations)).output
