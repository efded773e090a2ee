"""A kubeconfig is read as kubectl reads it; what is not supported is refused by name."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.client import kubeconfig


def document(user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


def test_token_and_inline_ca(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    config = kubeconfig.parse(document({"token": "t"}, **{"certificate-authority-data": data}), folder=tmp_path)
    assert config.server == "https://127.0.0.1:6443"
    assert config.ca_pem == b"PEM"
    assert config.token is not None and config.token.reveal() == "t"
    assert "'t'" not in repr(config)
    assert config.namespace == "team"


def test_files_are_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "crt").write_bytes(b"C")
    (tmp_path / "key").write_bytes(b"K")
    config = kubeconfig.parse(document({"client-certificate": "crt", "client-key": "key"}), folder=tmp_path)
    assert (config.certificate_pem, config.key_pem) == (b"C", b"K")


@pytest.mark.parametrize("field", ["exec", "auth-provider", "password", "as"])
def test_what_is_not_supported_is_named(field: str, tmp_path: Path) -> None:
    with pytest.raises(kubeconfig.KubeconfigError, match=field):
        kubeconfig.parse(document({field: {"x": 1}}), folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"current-context": ""}, "current-context"),
        ({"current-context": "there"}, "contexts has no entry 'there'"),
        ({"clusters": []}, "clusters has no entry 'c'"),
        ({"users": None}, "users has no entry 'u'"),
    ],
)
def test_a_broken_file_says_where(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(kubeconfig.KubeconfigError, match=message):
        kubeconfig.parse({**document({}), **change}, folder=tmp_path)


def test_load_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document({"token": "t"})))
    assert kubeconfig.load(path).server == "https://127.0.0.1:6443"
    assert kubeconfig.find({"KUBECONFIG": f"{tmp_path}/none:{path}"}) == path
    path.write_text("[1")
    with pytest.raises(kubeconfig.KubeconfigError):
        kubeconfig.load(path)


def test_in_cluster(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("PEM")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert kubeconfig.in_cluster(environment, folder=tmp_path).server == "https://[fd00::1]:443"
    with pytest.raises(kubeconfig.KubeconfigError):
        kubeconfig.in_cluster({}, folder=tmp_path)
