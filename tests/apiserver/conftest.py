"""A running API server for the tests: a real store, real TLS, real kubectl."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.apiserver import server
from fairlead.client import inprocess
from fairlead.store import sqlite
from fairlead.testing import pod_door

from . import kubectl


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[server.ApiServer]:
    """An API server over a fresh store, with a node that takes every pod."""
    store = sqlite.SqliteStore(tmp_path / "store.db")
    await store.open()
    running = server.ApiServer(store, server.ApiServerConfig(state_folder=tmp_path, node_name="node-1"))
    await running.start()
    running.write_kubeconfig(tmp_path / "kubeconfig")
    yield running
    await running.close()
    await store.close()


@pytest.fixture
def client(api: server.ApiServer) -> inprocess.rest.RestClient:
    """The administrator's client, in process."""
    return inprocess.client(api.exchange, server.ADMIN)


@pytest.fixture
def kubectl_environment(tmp_path: Path) -> dict[str, str]:
    """Where kubectl keeps its files in this test."""
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(tmp_path / "kubeconfig")}


@pytest.fixture
def door(api: server.ApiServer) -> pod_door.FakePodDoor:
    """The fake node agent that the API server asks."""
    made = pod_door.FakePodDoor()
    api.chain.pod_door = made
    return made


@pytest.fixture
def run(api: server.ApiServer, kubectl_environment: dict[str, str]) -> kubectl.Kubectl:
    """The real kubectl."""
    return kubectl.Kubectl(kubectl_environment)
