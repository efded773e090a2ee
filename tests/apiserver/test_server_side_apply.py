"""Server-side apply: ownership, conflicts, force, removal, and the way over from client-side apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.client import errors, rest

from . import kubectl

CM = kinds.CONFIG_MAP


def deployment(**spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "a:1", "ports": [{"containerPort": 80}]}
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"l": "1"}},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template, **spec},
    }


async def apply(client: rest.RestClient, body: dict[str, Any], manager: str = "one", **more: Any) -> dict[str, Any]:
    kind = kinds.DEPLOYMENT if body["kind"] == "Deployment" else CM
    name = body["metadata"]["name"]
    return await client.patch(kind, name, body, namespace="default", patch_type="apply", field_manager=manager, **more)


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


async def test_apply_creates_with_its_fields(client: rest.RestClient) -> None:
    made = await apply(client, deployment(replicas=2))
    (entry,) = made["metadata"]["managedFields"]
    assert entry["manager"] == "one" and entry["operation"] == "Apply" and entry["apiVersion"] == "apps/v1"
    fields = entry["fieldsV1"]
    assert fields["f:metadata"] == {"f:labels": {"f:l": {}}}
    containers = fields["f:spec"]["f:template"]["f:spec"]["f:containers"]
    main = containers['k:{"name":"main"}']
    assert main["."] == {} and main["f:ports"] == {
        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
    }
    again = await apply(client, deployment(replicas=2))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], "nothing changed"


async def test_fields_left_out_are_removed_unless_others_own_them(client: rest.RestClient) -> None:
    await apply(client, config(a="1", b="2", c="3"))
    await apply(client, config(b="2"), "two")
    changed = await apply(client, config(a="1"))
    assert changed["data"] == {"a": "1", "b": "2"}
    changed = await apply(client, config(), "two")
    assert changed["data"] == {"a": "1"}


async def test_conflicts_and_force(client: rest.RestClient) -> None:
    await apply(client, config(a="1"))
    with pytest.raises(errors.ApiError) as caught:
        await apply(client, config(a="2"), "two")
    assert caught.value.code == 409
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    cause = caught.value.status["details"]["causes"][0]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".data.a")
    forced = await apply(client, config(a="2"), "two", force=True)
    assert forced["data"] == {"a": "2"}
    assert [entry["manager"] for entry in forced["metadata"]["managedFields"]] == ["two"]


async def test_the_same_value_is_shared(client: rest.RestClient) -> None:
    await apply(client, config(a="1"))
    shared = await apply(client, config(a="1"), "two")
    assert {entry["manager"] for entry in shared["metadata"]["managedFields"]} == {"one", "two"}


async def test_an_update_takes_ownership(client: rest.RestClient) -> None:
    await apply(client, deployment(replicas=1))
    await client.patch(
        kinds.DEPLOYMENT,
        "d",
        {"spec": {"replicas": 5}},
        namespace="default",
        subresource="scale",
        field_manager="scaler",
    )
    with pytest.raises(
        errors.ApiError, match=r'conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas'
    ):
        await apply(client, deployment(replicas=1))
    left = await apply(client, deployment())
    assert left["spec"]["replicas"] == 5


async def test_keyed_lists_are_merged_by_key(client: rest.RestClient) -> None:
    await apply(client, deployment())
    sidecar = deployment()
    sidecar["spec"] = {"template": {"spec": {"containers": [{"name": "side", "image": "b:1"}]}}}
    merged = await apply(client, sidecar, "injector")
    names = [container["name"] for container in merged["spec"]["template"]["spec"]["containers"]]
    assert names == ["main", "side"]
    sidecar["spec"]["template"]["spec"]["containers"] = []
    merged = await apply(client, sidecar, "injector")
    assert [container["name"] for container in merged["spec"]["template"]["spec"]["containers"]] == ["main"]


async def test_what_was_there_before_belongs_to_before_first_apply(client: rest.RestClient) -> None:
    await client.create(CM, config(a="1", b="2"), namespace="default")
    with pytest.raises(errors.ApiError, match=r'conflict with "before-first-apply" using v1: .data.a'):
        await apply(client, config(a="9"))
    shared = await apply(client, config(a="1"))
    assert shared["data"] == {"a": "1", "b": "2"}


async def test_unknown_fields_and_missing_managers_are_refused(client: rest.RestClient) -> None:
    with pytest.raises(errors.ApiError, match="fieldManager: Required value"):
        await apply(client, config(a="1"), "")
    await apply(client, config(a="1"))
    with pytest.raises(errors.ApiError, match="managedFields must be nil"):
        body = config(a="1")
        body["metadata"]["managedFields"] = [{"manager": "x"}]
        await apply(client, body)


async def test_kubectl_apply_server_side(run: kubectl.Kubectl, tmp_path: Path) -> None:
    manifest = tmp_path / "cm.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n")
    assert "serverside-applied" in (await run("apply", "--server-side", "-f", str(manifest))).out
    await run("patch", "cm", "c", "-p", '{"data":{"a":"2"}}')
    refused = await run("apply", "--server-side", "-f", str(manifest), code=1)
    assert 'conflict with "kubectl-patch"' in refused.err and "--force-conflicts" in refused.err
    await run("apply", "--server-side", "--force-conflicts", "-f", str(manifest))
    assert (await run("get", "cm", "c", "-o", "jsonpath={.data.a}")).out == "1"
    assert "f:data" in (await run("get", "cm", "c", "-o", "yaml", "--show-managed-fields")).out


async def test_kubectl_moves_from_client_side_to_server_side(run: kubectl.Kubectl, tmp_path: Path) -> None:
    manifest = tmp_path / "cm.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', b: '1'}\n")
    await run("apply", "-f", str(manifest))
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '2', b: '1'}\n")
    await run("apply", "--server-side", "-f", str(manifest))
    assert (await run("get", "cm", "c", "-o", "jsonpath={.data.a}")).out == "2"
    diff = await run("diff", "--server-side", "-f", str(manifest))
    assert diff.out == ""


def probed(**probe: Any) -> dict[str, Any]:
    body = deployment()
    container = body["spec"]["template"]["spec"]["containers"][0]
    if probe:
        container["readinessProbe"] = probe
    return body


def main_container(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["template"]["spec"]["containers"][0]
    return found


HTTP = {"httpGet": {"path": "/", "port": 80}}


async def test_an_object_that_is_left_out_goes_with_its_defaults(client: rest.RestClient) -> None:
    await apply(client, probed(**HTTP))
    assert "readinessProbe" not in main_container(await apply(client, probed()))
    await apply(client, probed(**HTTP))
    changed = main_container(await apply(client, probed(tcpSocket={"port": 80})))["readinessProbe"]
    assert "httpGet" not in changed and changed["tcpSocket"] == {"port": 80} and changed["periodSeconds"] == 10


async def test_a_volume_and_a_strategy_change_their_type(client: rest.RestClient) -> None:
    body = deployment(strategy={"rollingUpdate": {"maxSurge": 1}})
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "configMap": {"name": "a"}}]
    await apply(client, body)
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "a"}}]
    body["spec"]["strategy"] = {"type": "Recreate"}
    made = await apply(client, body)
    assert made["spec"]["strategy"] == {"type": "Recreate"}
    (volume,) = made["spec"]["template"]["spec"]["volumes"]
    assert set(volume) == {"name", "secret"}


async def test_what_others_own_below_it_stays_and_so_do_other_keys_of_maps(client: rest.RestClient) -> None:
    await apply(client, probed(**HTTP))
    await apply(client, probed(**HTTP, failureThreshold=7), "two")
    changed = main_container(await apply(client, probed()))
    assert changed["readinessProbe"]["failureThreshold"] == 7
    noted = {**config(), "metadata": {"name": "c", "annotations": {"mine": "1"}}}
    await apply(client, noted)
    await client.patch(CM, "c", {"metadata": {"annotations": {"theirs": "1"}}}, namespace="default")
    assert (await apply(client, config()))["metadata"]["annotations"] == {"theirs": "1"}
