"""Claims get volumes, keep them, and give them back; before the real API server with its admission and RBAC."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.base import clock as clocks
from fairlead.client import inprocess
from fairlead.cluster import local_volumes
from fairlead.controllers import permissions, suite
from fairlead.store import sqlite

Object = dict[str, Any]


class Cluster:
    """The real API server and controllers, with folders for volumes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        store = sqlite.SqliteStore(self.folder / "store.db")
        await store.open()
        wanted = server.ApiServerConfig(state_folder=self.folder, node_name="n1", controller_rules=permissions.RULES)
        api = server.ApiServer(store, wanted)
        await api.start()
        self.client = inprocess.client(api.exchange, server.ADMIN)
        controllers = suite.ControllerSuite(
            inprocess.clients_for_controllers(api.exchange),
            clock=clocks.SystemClock(),
            rng=random.Random(1),
            on_failure=lambda name, error: self.failures.append(f"{name}: {error!r}"),
            root_ca_pem="CA",
            volume_folders=local_volumes.LocalVolumes(self.folder / "volumes"),
        )
        await controllers.start()
        await asyncio.wait_for(controllers.synced(), 10)
        try:
            yield self
        finally:
            await controllers.close()
            await api.close()
            await store.close()
        assert self.failures == []

    async def claim(self, name: str, **spec: Any) -> Object:
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
        body = {"metadata": {"name": name}, "spec": wanted}
        return await self.client.create(kinds.PERSISTENT_VOLUME_CLAIM, body, namespace="default")

    async def until(self, kind: kinds.Kind, test: Callable[[list[Object]], Any]) -> list[Object]:
        """All objects of a kind, as soon as the test is true of them."""
        async with asyncio.timeout(10):
            while True:
                found = (await self.client.list(kind)).items
                if test(found):
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path).running() as made:
        await made.until(kinds.STORAGE_CLASS, lambda found: found)
        yield made


def phases(found: list[Object]) -> list[str]:
    return [one["status"]["phase"] for one in found]


async def test_a_claim_without_a_class_gets_a_folder_of_the_default_class(cluster: Cluster) -> None:
    made = await cluster.claim("data")
    assert made["spec"]["storageClassName"] == "fairlead"
    (claim,) = await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: phases(found) == ["Bound"])
    (volume,) = await cluster.until(kinds.PERSISTENT_VOLUME, lambda found: phases(found) == ["Bound"])
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"] == f"pvc-{claim['metadata']['uid']}"
    assert claim["status"]["capacity"] == {"storage": "1Gi"}
    assert volume["spec"]["hostPath"]["path"] == f"{cluster.folder}/volumes/{volume['metadata']['name']}"
    assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]


async def test_deleting_the_claim_removes_volume_and_folder(cluster: Cluster) -> None:
    await cluster.claim("data")
    (volume,) = await cluster.until(kinds.PERSISTENT_VOLUME, lambda found: phases(found) == ["Bound"])
    folder = Path(volume["spec"]["hostPath"]["path"])
    folder.mkdir(parents=True)
    (folder / "x").write_text("x")
    await cluster.client.delete(kinds.PERSISTENT_VOLUME_CLAIM, "data", namespace="default")
    await cluster.until(kinds.PERSISTENT_VOLUME, lambda found: not found)
    assert not folder.exists()
    assert (await cluster.client.list(kinds.PERSISTENT_VOLUME_CLAIM)).items == []


async def test_a_claim_that_a_pod_uses_stays_until_the_pod_has_gone(cluster: Cluster) -> None:
    await cluster.claim("data")
    await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: phases(found) == ["Bound"])
    spec = {
        "containers": [{"name": "app", "image": "x"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    await cluster.client.create(kinds.POD, {"metadata": {"name": "web"}, "spec": spec}, namespace="default")
    await cluster.client.delete(kinds.PERSISTENT_VOLUME_CLAIM, "data", namespace="default")
    (claim,) = (await cluster.client.list(kinds.PERSISTENT_VOLUME_CLAIM)).items
    assert claim["metadata"]["deletionTimestamp"]
    await cluster.client.delete(kinds.POD, "web", namespace="default", grace_seconds=0)
    await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: not found)


async def test_the_smallest_volume_that_fits_is_bound_and_kept_after_the_claim(cluster: Cluster) -> None:
    for name, size in (("small", "500Mi"), ("big", "10Gi"), ("right", "2Gi")):
        spec = {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
            "hostPath": {"path": f"/srv/{name}"},
        }  # fmt: skip
        await cluster.client.create(kinds.PERSISTENT_VOLUME, {"metadata": {"name": name}, "spec": spec})
    await cluster.until(kinds.PERSISTENT_VOLUME, lambda found: phases(found) == ["Available"] * 3)
    await cluster.claim("data", storageClassName="manual")
    (claim,) = await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: phases(found) == ["Bound"])
    assert claim["spec"]["volumeName"] == "right"
    await cluster.client.delete(kinds.PERSISTENT_VOLUME_CLAIM, "data", namespace="default")
    await cluster.until(kinds.PERSISTENT_VOLUME, lambda found: sorted(phases(found))[-1] == "Released")


async def test_a_class_of_another_cluster_gets_a_folder_and_says_so(cluster: Cluster) -> None:
    await cluster.claim("data", storageClassName="gp3")
    await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: phases(found) == ["Bound"])
    told = await cluster.until(kinds.EVENT, lambda found: any("gp3" in one["message"] for one in found))
    assert any("size is not enforced" in one["message"] for one in told)


async def test_the_empty_class_waits_for_a_volume_that_somebody_makes(cluster: Cluster) -> None:
    await cluster.claim("data", storageClassName="")
    await cluster.until(kinds.EVENT, lambda found: any(one["reason"] == "FailedBinding" for one in found))
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/srv/x"}}
    await cluster.client.create(kinds.PERSISTENT_VOLUME, {"metadata": {"name": "late"}, "spec": spec})
    (claim,) = await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: phases(found) == ["Bound"])
    assert claim["spec"]["volumeName"] == "late"


async def test_a_claim_that_asks_for_more_has_it(cluster: Cluster) -> None:
    await cluster.claim("data")
    await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: phases(found) == ["Bound"])
    change = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    await cluster.client.patch(kinds.PERSISTENT_VOLUME_CLAIM, "data", change, namespace="default")
    await cluster.until(
        kinds.PERSISTENT_VOLUME_CLAIM, lambda found: found[0]["status"]["capacity"] == {"storage": "2Gi"}
    )
    await cluster.until(kinds.PERSISTENT_VOLUME, lambda found: found[0]["spec"]["capacity"] == {"storage": "2Gi"})


async def test_an_ephemeral_volume_has_a_claim_that_goes_with_its_pod(cluster: Cluster) -> None:
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    spec = {"containers": [{"name": "app", "image": "x"}], "volumes": volumes}
    await cluster.client.create(kinds.POD, {"metadata": {"name": "web"}, "spec": spec}, namespace="default")
    (claim,) = await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: phases(found) == ["Bound"])
    assert claim["metadata"]["name"] == "web-scratch"
    assert claim["metadata"]["ownerReferences"][0]["name"] == "web"
    await cluster.client.delete(kinds.POD, "web", namespace="default", grace_seconds=0)
    await cluster.until(kinds.PERSISTENT_VOLUME_CLAIM, lambda found: not found)
    await cluster.until(kinds.PERSISTENT_VOLUME, lambda found: not found)
