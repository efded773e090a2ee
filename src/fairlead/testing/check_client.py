"""The check suite of `client.protocol.Client`: every transport, and every API server, passes it.

`check(client, namespace)` writes ConfigMaps, a Deployment and a Pod into the namespace and raises AssertionError
where an answer is not Kubernetes'.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fairlead.api import kinds
from fairlead.client import errors, protocol

CONFIG_MAP = kinds.CONFIG_MAP


def _config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"check": "client"}}, "data": data}


async def check(client: protocol.Client, namespace: str) -> None:
    """All checks in turn."""
    await create_get_update(client, namespace)
    await conflicts(client, namespace)
    await patches(client, namespace)
    await lists(client, namespace)
    await watches(client, namespace)
    await watch_with_selector(client, namespace)
    await deletion(client, namespace)
    await finalizers(client, namespace)
    await status_and_scale(client, namespace)


async def _fails(code: int, reason: str, awaitable: Any) -> None:
    try:
        await awaitable
    except errors.ApiError as error:
        assert (error.code, error.reason) == (code, reason), error.status
        assert error.status.get("message"), "a Status says what is wrong"
    else:
        raise AssertionError(f"expected {code} {reason}")


async def create_get_update(client: protocol.Client, namespace: str) -> None:
    await _fails(404, "NotFound", client.get(CONFIG_MAP, "cm1", namespace=namespace))
    tried = await client.create(CONFIG_MAP, _config_map("cm1", a="1"), namespace=namespace, dry_run=True)
    assert tried["data"] == {"a": "1"}
    created = await client.create(CONFIG_MAP, _config_map("cm1", a="1"), namespace=namespace)
    metadata = created["metadata"]
    assert metadata["uid"] and metadata["resourceVersion"] and metadata["creationTimestamp"]
    assert metadata["namespace"] == namespace
    await _fails(409, "AlreadyExists", client.create(CONFIG_MAP, _config_map("cm1"), namespace=namespace))
    got = await client.get(CONFIG_MAP, "cm1", namespace=namespace)
    assert got["data"] == {"a": "1"} and got["kind"] == "ConfigMap" and got["apiVersion"] == "v1"
    updated = await client.update(CONFIG_MAP, {**got, "data": {"a": "2"}})
    assert updated["data"] == {"a": "2"}
    assert updated["metadata"]["uid"] == metadata["uid"]
    assert updated["metadata"]["resourceVersion"] != metadata["resourceVersion"]
    again = await client.update(CONFIG_MAP, updated)
    assert again["metadata"]["resourceVersion"] == updated["metadata"]["resourceVersion"], "nothing changed"
    named = await client.create(CONFIG_MAP, {"metadata": {"generateName": "gen-"}}, namespace=namespace)
    assert named["metadata"]["name"].startswith("gen-") and len(named["metadata"]["name"]) > 4
    await client.delete(CONFIG_MAP, named["metadata"]["name"], namespace=namespace)


async def conflicts(client: protocol.Client, namespace: str) -> None:
    first = await client.get(CONFIG_MAP, "cm1", namespace=namespace)
    await client.update(CONFIG_MAP, {**first, "data": {"a": "3"}})
    await _fails(409, "Conflict", client.update(CONFIG_MAP, {**first, "data": {"a": "4"}}))
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"a": "5"}}
    await _fails(409, "Conflict", client.patch(CONFIG_MAP, "cm1", stale, namespace=namespace))
    await _fails(404, "NotFound", client.update(CONFIG_MAP, {"metadata": {"name": "none", "namespace": namespace}}))


async def patches(client: protocol.Client, namespace: str) -> None:
    patched = await client.patch(CONFIG_MAP, "cm1", {"data": {"a": None, "b": "1"}}, namespace=namespace)
    assert patched["data"] == {"b": "1"}
    tried = await client.patch(CONFIG_MAP, "cm1", {"data": {"c": "1"}}, namespace=namespace, dry_run=True)
    assert tried["data"] == {"b": "1", "c": "1"}
    assert (await client.get(CONFIG_MAP, "cm1", namespace=namespace))["data"] == {"b": "1"}
    await _fails(404, "NotFound", client.patch(CONFIG_MAP, "none", {}, namespace=namespace))


async def lists(client: protocol.Client, namespace: str) -> None:
    for name in ("l1", "l2", "l3"):
        await client.create(CONFIG_MAP, {"metadata": {"name": name, "labels": {"l": name}}}, namespace=namespace)
    by_label = await client.list(CONFIG_MAP, namespace=namespace, label_selector="l in (l1,l3)")
    assert [obj["metadata"]["name"] for obj in by_label.items] == ["l1", "l3"]
    assert all(obj["kind"] == "ConfigMap" and obj["apiVersion"] == "v1" for obj in by_label.items)
    by_field = await client.list(CONFIG_MAP, namespace=namespace, field_selector="metadata.name=l2")
    assert [obj["metadata"]["name"] for obj in by_field.items] == ["l2"]
    pages, token = [], ""
    while True:
        page = await client.list(CONFIG_MAP, namespace=namespace, label_selector="l", limit=2, continue_token=token)
        pages.append([obj["metadata"]["name"] for obj in page.items])
        token = page.continue_token
        if not token:
            break
    assert pages == [["l1", "l2"], ["l3"]], pages
    everywhere = await client.list(CONFIG_MAP, label_selector="l=l1")
    assert len(everywhere.items) == 1
    for name in ("l1", "l2", "l3"):
        await client.delete(CONFIG_MAP, name, namespace=namespace)


async def _next(events: Any) -> protocol.WatchEvent:
    while True:
        event: protocol.WatchEvent = await asyncio.wait_for(anext(events), 10)
        if event.type != "BOOKMARK":
            return event


async def watches(client: protocol.Client, namespace: str) -> None:
    """ADDED, MODIFIED, DELETED in order; a watch from an earlier version tells the same again."""
    start = (await client.list(CONFIG_MAP, namespace=namespace)).resource_version
    await client.create(CONFIG_MAP, _config_map("w", a="1"), namespace=namespace)
    await client.patch(CONFIG_MAP, "w", {"data": {"a": "2"}}, namespace=namespace)
    for _ in range(2):
        events = client.watch(CONFIG_MAP, namespace=namespace, resource_version=start)
        added = await _next(events)
        assert (added.type, added.object["data"]) == ("ADDED", {"a": "1"})
        assert added.object["kind"] == "ConfigMap"
        changed = await _next(events)
        assert (changed.type, changed.object["data"]) == ("MODIFIED", {"a": "2"})
        await events.aclose()
    events = client.watch(
        CONFIG_MAP, namespace=namespace, resource_version=changed.object["metadata"]["resourceVersion"]
    )
    waiting = asyncio.ensure_future(_next(events))
    await client.delete(CONFIG_MAP, "w", namespace=namespace)
    deleted = await waiting
    assert (deleted.type, deleted.object["metadata"]["name"]) == ("DELETED", "w")
    version = deleted.object["metadata"]["resourceVersion"]
    assert version != changed.object["metadata"]["resourceVersion"], "a deletion has a version of its own"
    await events.aclose()


async def watch_with_selector(client: protocol.Client, namespace: str) -> None:
    """An object that stops matching is DELETED for this watch."""
    start = (await client.list(CONFIG_MAP, namespace=namespace)).resource_version
    events = client.watch(CONFIG_MAP, namespace=namespace, resource_version=start, label_selector="s=1")
    await client.create(CONFIG_MAP, {"metadata": {"name": "other"}}, namespace=namespace)
    await client.create(CONFIG_MAP, {"metadata": {"name": "sel", "labels": {"s": "1"}}}, namespace=namespace)
    assert (await _next(events)).object["metadata"]["name"] == "sel"
    await client.patch(CONFIG_MAP, "sel", {"metadata": {"labels": {"s": "2"}}}, namespace=namespace)
    event = await _next(events)
    assert (event.type, event.object["metadata"]["name"]) == ("DELETED", "sel")
    await events.aclose()
    for name in ("other", "sel"):
        await client.delete(CONFIG_MAP, name, namespace=namespace)


async def deletion(client: protocol.Client, namespace: str) -> None:
    current = await client.get(CONFIG_MAP, "cm1", namespace=namespace)
    await _fails(409, "Conflict", client.delete(CONFIG_MAP, "cm1", namespace=namespace, uid="not-it"))
    await client.delete(CONFIG_MAP, "cm1", namespace=namespace, uid=current["metadata"]["uid"])
    await _fails(404, "NotFound", client.delete(CONFIG_MAP, "cm1", namespace=namespace))


async def finalizers(client: protocol.Client, namespace: str) -> None:
    """A finalizer keeps the object, marked; its removal ends it."""
    body = {"metadata": {"name": "fin", "finalizers": ["example.com/hold"]}}
    await client.create(CONFIG_MAP, body, namespace=namespace)
    await client.delete(CONFIG_MAP, "fin", namespace=namespace)
    held = await client.get(CONFIG_MAP, "fin", namespace=namespace)
    assert held["metadata"]["deletionTimestamp"]
    await client.patch(CONFIG_MAP, "fin", {"metadata": {"finalizers": None}}, namespace=namespace)
    await _fails(404, "NotFound", client.get(CONFIG_MAP, "fin", namespace=namespace))


async def status_and_scale(client: protocol.Client, namespace: str) -> None:
    """Status changes by its subresource only, and does not raise the generation; scale changes only replicas."""
    template = {
        "metadata": {"labels": {"app": "check"}},
        "spec": {"containers": [{"name": "main", "image": "check"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "check"}}, "template": template}
    created = await client.create(
        kinds.REPLICA_SET, {"metadata": {"name": "rs"}, "spec": spec, "status": {"replicas": 9}}, namespace=namespace
    )
    assert created["metadata"]["generation"] == 1
    assert (created.get("status") or {}).get("replicas", 0) != 9, "status is not created"
    status = {"status": {"replicas": 0, "observedGeneration": 1}}
    changed = await client.patch(kinds.REPLICA_SET, "rs", status, namespace=namespace, subresource="status")
    assert changed["status"]["observedGeneration"] == 1 and changed["metadata"]["generation"] == 1
    put = {**changed, "status": {"replicas": 0, "observedGeneration": 2}, "spec": {**changed["spec"], "replicas": 7}}
    changed = await client.update(kinds.REPLICA_SET, put, subresource="status")
    assert changed["status"]["observedGeneration"] == 2 and changed["spec"]["replicas"] == 0
    await client.patch(kinds.REPLICA_SET, "rs", {"spec": {"replicas": 2}}, namespace=namespace, subresource="scale")
    scaled = await client.get(kinds.REPLICA_SET, "rs", namespace=namespace)
    assert scaled["spec"]["replicas"] == 2 and scaled["metadata"]["generation"] == 2
    assert scaled["status"]["observedGeneration"] == 2, "a change of spec keeps the status"
    await client.delete(kinds.REPLICA_SET, "rs", namespace=namespace, propagation="Background")
