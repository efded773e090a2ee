"""Bad manifests: a message that names file, object and field, and nothing that runs is touched."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from fairlead.api import kinds
from tests.system import local

pytestmark = pytest.mark.system

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: must-not-appear}\n---\n"
CASES = {
    "a wrong field": (
        """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: other}
        spec:
          replicass: 3
          selector: {matchLabels: {app: other}}
          template:
            metadata: {labels: {app: other}}
            spec: {containers: [{name: c, image: other}]}
        """,
        ["bad.yaml:", "Deployment/other", "spec.replicass"],
    ),
    "a wrong value": (
        """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: other}
        spec:
          replicas: -1
          selector: {matchLabels: {app: other}}
          template:
            metadata: {labels: {app: other}}
            spec: {containers: [{name: c, image: other}]}
        """,
        ["bad.yaml:", "Deployment/other", "spec.replicas", "-1"],
    ),
    "an unknown kind": (
        "apiVersion: shop/v1\nkind: Basket\nmetadata: {name: b}\n",
        ["bad.yaml:", "Basket/b", "no matches for kind"],
    ),
    "a port that another Service holds": (
        """
        apiVersion: v1
        kind: Service
        metadata: {name: second}
        spec: {type: NodePort, selector: {app: x}, ports: [{port: 80, nodePort: 30777}]}
        """,
        ["bad.yaml:", "Service/second", "spec.ports[0].nodePort", "30777"],
    ),
    "broken YAML": ("kind: [\n", ["bad.yaml:", "not valid YAML"]),
}
HOLDER = """
apiVersion: v1
kind: Service
metadata: {name: first}
spec: {type: NodePort, selector: {app: x}, ports: [{port: 80, nodePort: 30777}]}
"""


async def test_a_bad_manifest_is_refused_whole_and_what_runs_is_untouched(my_app: local.Local, tmp_path: Path) -> None:
    my_app.kubectl("apply", "-f", "-", stdin=HOLDER)
    async with my_app.client() as client:
        before = await versions(client)
        for title, (text, words) in CASES.items():
            bad = tmp_path / "bad.yaml"
            bad.write_text(GOOD + textwrap.dedent(text))
            done = my_app.up(bad, check=False)
            assert done.returncode == 1, title
            assert all(word in done.stderr for word in words), f"{title}: {done.stderr}"
            assert "Traceback" not in done.stderr + done.stdout, title
        assert await versions(client) == before


async def versions(client) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """uid and generation of everything that a refused manifest could have touched."""
    found = {}
    for kind in (kinds.DEPLOYMENT, kinds.SERVICE, kinds.POD, kinds.CONFIG_MAP, kinds.INGRESS):
        for item in (await client.list(kind, namespace="default")).items:
            metadata = item["metadata"]
            found[f"{kind}/{metadata['name']}"] = f"{metadata['uid']} {metadata.get('generation')}"
    return found


def test_an_edge_port_that_is_taken_names_its_holder(empty: local.Local) -> None:
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        empty.edge_port = holder.getsockname()[1]
        done = empty.up(local.EXAMPLE, check=False)
    assert done.returncode == 1
    assert str(empty.edge_port) in done.stderr
    assert "python" in done.stderr, done.stderr


def test_a_container_engine_that_is_asked_for_and_is_not_here_ends_the_start(empty: local.Local) -> None:
    done = empty.fairlead("up", "-d", *empty.arguments(), "--runtime", "/no/such.sock", check=False)
    assert done.returncode == 1
    assert "--runtime /no/such.sock" in done.stderr
    assert "no container engine answers" in done.stderr or "only Podman runs images" in done.stderr
