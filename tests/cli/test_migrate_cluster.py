"""`fairlead migrate ingress-nginx --kubeconfig` reads a cluster over HTTPS, as who asks, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from click import testing

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.cli import migrate
from fairlead.client import inprocess
from fairlead.store import memory

from .test_migrate import INGRESS


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[server.ApiServer]:
    """An API server with three Ingresses, and $KUBECONFIG for it."""
    made = server.ApiServer(memory.MemoryStore(), server.ApiServerConfig(state_folder=tmp_path))
    await made.start()
    made.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    client = inprocess.client(made.exchange, server.ADMIN)
    for name, words in (("plain", "rewrite-target: /$2"), ("snippet", 'configuration-snippet: "return 200;"')):
        one = yaml.safe_load(
            INGRESS % f"nginx.ingress.kubernetes.io/{words}, nginx.ingress.kubernetes.io/use-regex: 'true'"
        )
        one["metadata"]["name"] = name
        one["spec"]["rules"][0]["host"] = f"{name}.example"
        await client.create(kinds.INGRESS, one, namespace="default")
    other = {
        "metadata": {"name": "other"},
        "spec": {"ingressClassName": "traefik", "defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}},
    }
    await client.create(kinds.INGRESS, other, namespace="default")
    yield made
    await made.close()


async def run(*options: str) -> testing.Result:
    return await asyncio.to_thread(testing.CliRunner().invoke, migrate.command, ["ingress-nginx", *options])


async def test_a_cluster_is_reported_object_by_object(api: server.ApiServer) -> None:
    client = inprocess.client(api.exchange, server.ADMIN)
    before = (await client.list(kinds.INGRESS)).resource_version
    done = await run("--kubeconfig")
    assert done.exit_code == 2, done.output
    assert "Ingress/default/plain" in done.output and "Ingress/default/snippet" in done.output
    assert "never becomes configuration" in done.output
    assert "not of class nginx: Ingress/default/other" in done.output
    assert (await client.list(kinds.INGRESS)).resource_version == before


async def test_a_cluster_that_cannot_be_read_is_one_line(
    api: server.ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await run("--kubeconfig", "--context", "nobody")
    assert done.exit_code == 3 and "nobody" in done.output
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    done = await run("--kubeconfig")
    assert done.exit_code == 3 and "error:" in done.output
