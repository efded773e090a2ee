"""What is given to `up` that is no manifest: each is refused with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.cli import apply, failure, source

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
CASES = [
    ({"kustomization.yaml": "resources: [c.yaml]\n", "c.yaml": MAP}, "kubectl kustomize DIR | fairlead up -d -"),
    ({"Chart.yaml": "name: x\n", "values.yaml": "a: 1\n"}, "helm template NAME DIR | fairlead up -d -"),
    ({"base/c.yaml": MAP, "other/readme.txt": ""}, "folders below are not read, name them: DIR/base"),
    ({"c.yaml": "{{ if .Values.x }}\n" + MAP + "{{ end }}\n"}, "helm template"),
    ({"compose.yaml": "services: {web: {image: nginx}}\n"}, "a Compose file?"),
    ({"fairlead.yaml": "images: {}\n"}, "no *.yaml, *.yml or *.json in this folder"),
]


@pytest.mark.parametrize(("files", "words"), CASES)
def test_what_is_for_another_tool_names_the_command(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(failure.Failure) as caught:
        source.read((str(tmp_path),))
    assert words.replace("DIR", str(tmp_path)) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_version_that_is_gone_names_the_one_that_is_served(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: x}\n")
    with pytest.raises(failure.Failure) as caught:
        apply.plan(source.read((str(tmp_path),)).manifests)
    assert caught.value.message.endswith(
        "no matches for kind 'Ingress' in version 'extensions/v1beta1'; served: networking.k8s.io/v1"
    )
