"""Manifests are read as kubectl reads them, and a broken one says where."""

from __future__ import annotations

import pytest

from fairlead.api import manifest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-01-01", "2020-01-01"),
        ("12:30", "12:30"),
        ("0644", 420),
        ("08", "08"),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("0x1f", 31),
        ("'1'", "1"),
        ("yes", True),
        ("~", None),
    ],
)
def test_a_scalar_means_what_it_means_to_kubectl(text: str, value: object) -> None:
    [(_, document)] = manifest.load_documents(f"key: {text}", source="f")
    assert document == {"key": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "f.yaml:2: not valid YAML: key 'a' appears twice"),
        ("a: [", "f.yaml:2: not valid YAML: did not find expected node content"),
        ("- 1", "f.yaml:1: a Kubernetes object is expected here, found a list"),
        ("kind: Pod", "f.yaml:1: apiVersion: Required value: every object names its apiVersion"),
        (
            "---\n---\napiVersion: v1\nkind: Pod\nmetadata: {}",
            "f.yaml:3: Pod: metadata.name: Required value: name or generateName is required",
        ),
    ],
)
def test_a_broken_manifest_names_file_line_and_field(text: str, message: str) -> None:
    with pytest.raises(manifest.ManifestError) as error:
        manifest.load_manifests(text, source="f.yaml")
    assert str(error.value) == message


def test_an_alias_bomb_is_refused_before_it_is_built() -> None:
    rows = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    rows += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(manifest.ManifestError, match="expands to more than"):
        list(manifest.load_documents("\n".join(rows), source="f"))


def test_lists_are_unfolded_and_objects_know_their_title() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: b}}\n"
    [found] = manifest.load_manifests(text, source="f")
    assert found.title == "Pod/b/a"
