"""What a container said before it failed, for people who have not asked for logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.cli import lastwords
from fairlead.client import inprocess, rest
from fairlead.store import sqlite
from fairlead.testing import pod_door

FAILED = {"terminated": {"exitCode": 1}}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[tuple[pod_door.FakePodDoor, rest.RestClient]]:
    """The log of a pod `p` with a container `main`, and who reads it."""
    store = sqlite.SqliteStore(tmp_path / "store.db")
    await store.open()
    api = server.ApiServer(store, server.ApiServerConfig(state_folder=tmp_path, node_name="node-1"))
    await api.start()
    made = api.chain.pod_door = pod_door.FakePodDoor()
    client = inprocess.client(api.exchange, server.ADMIN)
    await client.create(kinds.POD, {"metadata": {"name": "p"}, "spec": SPEC}, namespace="default")
    yield made, client
    await api.close()
    await store.close()


SPEC = {"containers": [{"name": "main", "image": "x"}]}


def pod(**status: Any) -> dict[str, Any]:
    found = [{"name": "main", **status}]
    return {"metadata": {"name": "p", "namespace": "default"}, "status": {"containerStatuses": found}}


async def test_the_last_lines_of_the_container_that_failed(
    door: tuple[pod_door.FakePodDoor, rest.RestClient],
) -> None:
    fake, client = door
    for number in range(20):
        await fake.add_line(b"line %d" % number)
    said = await lastwords.read(client, pod(state=FAILED))
    assert said == [f"line {number}" for number in range(20 - lastwords.LINES, 20)]
    assert (fake.asked[-1].container, fake.asked[-1].previous) == ("main", False)


async def test_where_it_waits_to_be_started_again_its_life_before_this_one_is_asked_for(
    door: tuple[pod_door.FakePodDoor, rest.RestClient],
) -> None:
    fake, client = door
    assert await lastwords.read(client, pod(state={"waiting": {}}, lastState=FAILED)) == []
    assert fake.asked[-1].previous


async def test_what_did_not_fail_is_not_asked(door: tuple[pod_door.FakePodDoor, rest.RestClient]) -> None:
    fake, client = door
    for status in ({"state": {"running": {}}}, {"state": {"terminated": {"exitCode": 0}}}, {"state": {"waiting": {}}}):
        assert await lastwords.read(client, pod(**status)) == []
    assert fake.asked == []
