"""CustomResourceDefinitions: served at once, pruned, defaulted, validated, with status, scale and columns; deleted with
their objects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client import errors, rest
from fairlead.client.exchange import Request

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red", "enum": ["red", "green"]},
                "replicas": {"type": "integer"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}
WIDGET = kinds.Kind("example.com", "v1", "Widget", "widgets", True, ("wd",), (), ("status", "scale"))


def definition(**version: Any) -> dict[str, Any]:
    one = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        **version,
    }
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [one]}
    return {"metadata": {"name": "widgets.example.com"}, "spec": spec}


@pytest.fixture
async def installed(client: rest.RestClient) -> rest.RestClient:
    made = await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    assert {c["type"]: c["status"] for c in made["status"]["conditions"]}["Established"] == "True"
    return client


def widget(name: str = "w", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"size": 1, **spec}}


async def test_objects_are_pruned_and_defaulted(installed: rest.RestClient) -> None:
    made = await installed.create(WIDGET, widget(unknown=1, free={"any": {"thing": 1}}), namespace="default")
    assert made["spec"] == {"size": 1, "color": "red", "free": {"any": {"thing": 1}}}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": "x"}, 'spec.size in body must be of type integer: "string"'),
        ({"color": "blue"}, 'spec.color: Unsupported value: "blue": supported values: "green", "red"'),
        ({"size": None}, "spec.size: Required value"),
    ],
)
async def test_wrong_objects_are_refused(installed: rest.RestClient, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ApiError) as caught:
        await installed.create(WIDGET, widget(**spec), namespace="default")
    assert caught.value.code == 422 and message in str(caught.value), str(caught.value)


async def test_status_and_scale(installed: rest.RestClient) -> None:
    await installed.create(WIDGET, {**widget(replicas=2), "status": {"replicas": 7}}, namespace="default")
    changed = await installed.patch(WIDGET, "w", {"status": {"replicas": 2}}, namespace="default", subresource="status")
    assert changed["status"] == {"replicas": 2} and changed["metadata"]["generation"] == 1
    await installed.patch(WIDGET, "w", {"spec": {"replicas": 5}}, namespace="default", subresource="scale")
    got = await installed.get(WIDGET, "w", namespace="default")
    assert got["spec"]["replicas"] == 5 and got["metadata"]["generation"] == 2


async def test_columns(api: server.ApiServer, installed: rest.RestClient) -> None:
    await installed.create(WIDGET, widget(size=9), namespace="default")
    headers = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    response = await api.exchange(Request("GET", WIDGET.path("default"), (), headers, b"", server.ADMIN))
    table = rest._OBJECT.decode(response.body)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["w", 9]


async def test_a_definition_goes_with_its_objects(installed: rest.RestClient) -> None:
    await installed.create(WIDGET, widget(), namespace="default")
    await installed.delete(kinds.CUSTOM_RESOURCE_DEFINITION, "widgets.example.com")
    async with asyncio.timeout(10):
        while True:
            try:
                await installed.list(WIDGET)
            except errors.ApiError as error:
                assert error.not_found
                break
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"storage": False}, "exactly one version marked as storage"),
        (
            {"schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}},
            "must not be empty for specified",
        ),
        ({"name": "V1"}, "spec.versions[0].name"),
    ],
)
async def test_wrong_definitions_are_refused(client: rest.RestClient, change: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ApiError, match="is invalid") as caught:
        await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition(**change))
    assert message in str(caught.value), str(caught.value)


def _ruled(*given: dict[str, Any]) -> dict[str, Any]:
    spec = {**SCHEMA["properties"]["spec"], "x-kubernetes-validations": list(given)}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "spec": spec}}
    return definition(schema={"openAPIV3Schema": schema})


async def test_cel_rules_of_a_definition_are_kept(client: rest.RestClient) -> None:
    bounded = {"rule": "!has(self.replicas) || self.replicas <= self.size", "message": "no more replicas than size"}
    grows = {"rule": "self.size >= oldSelf.size", "message": "size may not shrink"}
    await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, _ruled(bounded, grows))
    with pytest.raises(errors.ApiError) as caught:
        await client.create(WIDGET, widget(size=1, replicas=2), namespace="default")
    assert caught.value.code == 422
    assert str(caught.value).endswith('"w" is invalid: spec: Invalid value: "object": no more replicas than size')
    await client.create(WIDGET, widget(size=2, replicas=2), namespace="default")
    with pytest.raises(errors.ApiError, match="size may not shrink"):
        await client.patch(WIDGET, "w", {"spec": {"size": 1, "replicas": 1}}, namespace="default")
    await client.patch(WIDGET, "w", {"spec": {"size": 3}}, namespace="default")


async def test_rules_that_cannot_be_evaluated_are_refused_with_their_place(client: rest.RestClient) -> None:
    with pytest.raises(errors.ApiError) as caught:
        await client.create(kinds.CUSTOM_RESOURCE_DEFINITION, _ruled({"rule": "url(self.color).getHost() == 'x'"}))
    place = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    assert caught.value.code == 422 and place in str(caught.value)
    assert "the function getHost is not offered by fairlead" in str(caught.value)
