"""OpenAPI v3 (one document per group and version) and v2 (one for all), made when asked for and kept compressed.

Enough for `kubectl explain`, for client- and server-side apply's checks, and for generators: schemas with descriptions,
paths with operations, parameters and group-version-kinds. v2 in protobuf is empty.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

from fairlead.api.kinds import Kind
from fairlead.api.schema import pack
from fairlead.apiserver import codec, requests, resources, status
from fairlead.client import exchange

Object = dict[str, Any]
_REF = pack.REF
_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_EMPTY = b"\x0a\x032.0\x12\x0e\x0a\x08fairlead\x12\x021\x2e\x42\x00"
"""swagger "2.0", info, no paths: kubectl asks so for kinds that v3 does not have, to hear that v2 has none either."""
_STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_PATCH = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
_PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


class Documents:
    """Renders documents for one Registry and forgets them when it changes."""

    def __init__(self, registry: resources.Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._rendered: dict[str, bytes] = {}

    def answer(self, info: requests.Info) -> exchange.Response:
        """`/openapi/v2`, `/openapi/v3` or `/openapi/v3/{apis/GROUP,api}/VERSION`. Raises ApiError."""
        if self._generation != self._registry.generation:
            self._rendered.clear()
            self._generation = self._registry.generation
        path = info.path.rstrip("/")
        if path == "/openapi/v2":
            accept = info.headers.get("accept", "*/*")
            if "json" not in accept and "*/*" not in accept:
                return exchange.Response(200, {"content-type": _V2_PROTOBUF}, _V2_EMPTY)
            return self._document("v2", self._render_v2)
        if path == "/openapi/v3":
            return exchange.Response(200, {"content-type": "application/json"}, codec.encode(self._index()))
        for group, versions in self._registry.group_versions().items():
            for version in versions:
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                if path == f"/openapi/v3/{name}":
                    return self._document(name, lambda g=group, v=version: self._render_v3(g, v))
        raise status.no_such_path()

    def _index(self) -> Object:
        paths = {}
        for group, versions in self._registry.group_versions().items():
            for version in versions:
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                text = f"{pack.KUBERNETES_VERSION} {name} {self._registry.generation}"
                digest = hashlib.sha256(text.encode()).hexdigest().upper()
                paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"}
        return {"paths": paths}

    def _document(self, name: str, render: Any) -> exchange.Response:
        packed = self._rendered.get(name)
        if packed is None:
            body: bytes = codec.encode(render())
            self._rendered[name] = zlib.compress(body, 1)
        else:
            body = zlib.decompress(packed)
        etag = hashlib.sha256(body).hexdigest().upper()
        return exchange.Response(200, {"content-type": "application/json", "etag": f'"{etag}"'}, body)

    def _render_v3(self, group: str, version: str) -> Object:
        served = [r for r in self._registry.all() if (r.kind.group, r.kind.version) == (group, version)]
        schemas, custom = _collect(served)
        paths: Object = {}
        for resource in served:
            paths.update(_paths(resource, custom.get(resource.kind.plural) or resource.definition))
        info = {"title": "fairlead", "version": pack.KUBERNETES_VERSION}
        return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}

    def _render_v2(self) -> Object:
        served = list(self._registry.all())
        schemas, custom = _collect(served)
        paths: Object = {}
        for resource in served:
            found = _paths(resource, custom.get(resource.kind.plural) or resource.definition)
            paths.update({path: _downgrade(item) for path, item in found.items()})
        text = json.dumps(schemas).replace(_REF, "#/definitions/")
        info = {"title": "fairlead", "version": pack.KUBERNETES_VERSION}
        return {"swagger": "2.0", "info": info, "paths": paths, "definitions": json.loads(text)}


def _collect(served: list[resources.Resource]) -> tuple[Object, dict[str, str]]:
    """The schemas that these kinds need, and the names made for custom ones."""
    texts = pack.descriptions()
    found: Object = {}
    custom: dict[str, str] = {}
    waiting = [_STATUS, _OPTIONS, _PATCH]
    for resource in served:
        if resource.custom:
            name = _custom_name(resource.kind)
            custom[resource.kind.plural] = name
            found[name] = _published(resource)
            waiting.append("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        else:
            waiting += [resource.definition, resource.definition + "List"]
            if resource.has("scale"):
                waiting.append("io.k8s.api.autoscaling.v1.Scale")
    known = pack.definitions()
    while waiting:
        name = waiting.pop()
        if name in found or name not in known:
            continue
        found[name] = _described(known[name], texts.get(name, {}))
        waiting += [ref[len(_REF) :] for ref in _refs(known[name])]
    return found, custom


def _published(resource: resources.Resource) -> pack.Schema:
    """A custom kind's schema with what every object has: clients look for its metadata there."""
    schema: Object = resource.schema or {"type": "object"}
    meta = {"$ref": _REF + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    usual = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": meta}
    properties = {**(schema.get("properties") or {}), **usual}
    return {**schema, "properties": properties, "x-kubernetes-group-version-kind": [_gvk(resource.kind)]}


def _custom_name(kind: Kind) -> str:
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def _described(schema: pack.Schema, texts: dict[str, str]) -> pack.Schema:
    result = dict(schema)
    if "" in texts:
        result["description"] = texts[""]
    if "properties" in schema:
        result["properties"] = {name: _field(part, texts.get(name, "")) for name, part in schema["properties"].items()}
    return result


def _field(schema: pack.Schema, text: str) -> pack.Schema:
    if not text:
        return schema
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {"allOf": [{"$ref": schema["$ref"]}], "description": text, **rest}
    return {**schema, "description": text}


def _refs(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [ref for part in schema.values() for ref in _refs(part)]
    if isinstance(schema, list):
        return [ref for part in schema for ref in _refs(part)]
    return []


def _gvk(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _parameter(name: str, kind: str, where: str = "query") -> Object:
    found: Object = {"name": name, "in": where, "schema": {"type": kind, "uniqueItems": True}}
    return found | ({"required": True} if where == "path" else {})


_DRY = [_parameter("dryRun", "string"), _parameter("fieldManager", "string"), _parameter("fieldValidation", "string")]
_LIST = [
    _parameter(name, kind)
    for name, kind in (
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    )
]
_DELETE = [
    _parameter(name, kind)
    for name, kind in (
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    )
]


def _operation(
    kind: Kind, action: str, answer: str, parameters: list[Object], *, body: str = "", types: Any = ()
) -> Object:
    content = (
        {"application/json": {"schema": {"$ref": _REF + answer}}} if answer else {"*/*": {"schema": {"type": "string"}}}
    )
    found: Object = {
        "tags": [f"{kind.group.partition('.')[0] or 'core'}_{kind.version}"],
        "operationId": f"{action}{kind.group.title().replace('.', '') or 'Core'}{kind.version.title()}{kind.kind}",
        "parameters": parameters,
        "responses": _responses(action, content),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if body:
        shapes = {one: {"schema": {"$ref": _REF + body}} for one in types or ("application/json", "application/yaml")}
        found["requestBody"] = {"content": shapes, "required": body != _OPTIONS}
    return found


def _responses(action: str, content: Object) -> Object:
    """Every answer an operation may give; what is refused is a Status whatever the code."""
    refused = {"application/json": {"schema": {"$ref": _REF + _STATUS}}}
    found: Object = {"200": {"description": "OK", "content": content}}
    if action in ("post", "put", "patch"):
        found["201"] = {"description": "Created", "content": content}
    if action in ("post", "delete"):
        found["202"] = {"description": "Accepted", "content": content}
    found["401"] = {"description": "Unauthorized", "content": refused}
    return found | {"default": {"description": "Refused, and why", "content": refused}}


def _paths(resource: resources.Resource, definition: str) -> Object:
    kind = resource.kind
    listed = definition + "List" if not resource.custom else definition
    collection = kind.path("{namespace}" if kind.namespaced else "")
    item = f"{collection}/{{name}}"
    shared = [_parameter("namespace", "string", "path")] if kind.namespaced else []
    named = [_parameter("name", "string", "path"), *shared]
    found: Object = {
        collection: {
            "get": _operation(kind, "list", listed, _LIST),
            "post": _operation(kind, "post", definition, _DRY, body=definition),
            "delete": _operation(kind, "deletecollection", _STATUS, _LIST + _DELETE, body=_OPTIONS),
            "parameters": shared,
        },
        item: {
            **_item(resource, definition),
            "delete": _operation(kind, "delete", _STATUS, _DELETE, body=_OPTIONS),
            "parameters": named,
        },
    }
    if kind.namespaced:
        found[kind.path()] = {"get": _operation(kind, "list", listed, _LIST), "parameters": []}
    if resource.has("status"):
        found[f"{item}/status"] = {**_item(resource, definition), "parameters": named}
    if resource.has("scale"):
        found[f"{item}/scale"] = {**_item(resource, "io.k8s.api.autoscaling.v1.Scale"), "parameters": named}
    return found


def _item(resource: resources.Resource, definition: str) -> Object:
    kind, force = resource.kind, _parameter("force", "boolean")
    # kubectl reads here which patch it may send: only built-in kinds have merge keys
    types = tuple(one for one in _PATCH_TYPES if not (resource.custom and "strategic" in one))
    return {
        "get": _operation(kind, "get", definition, []),
        "put": _operation(kind, "put", definition, _DRY, body=definition),
        "patch": _operation(kind, "patch", definition, [*_DRY, force], body=_PATCH, types=types),
    }


def _downgrade(item: Object) -> Object:
    """A v3 path item as v2 writes it."""
    result: Object = {}
    for method, operation in item.items():
        if method == "parameters":
            result[method] = [_flat(parameter) for parameter in operation]
            continue
        body = operation.get("requestBody")
        parameters = [_flat(parameter) for parameter in operation["parameters"]]
        if body:
            content = next(iter(body["content"].values()))
            parameters.append(
                {"name": "body", "in": "body", "required": body["required"], "schema": _v2(content["schema"])}
            )
        responses: Object = {}
        for code, answer in operation["responses"].items():
            contents = list(answer.get("content", {}).values())
            schema = contents[0].get("schema") if contents else None
            responses[code] = {"description": answer["description"], **({"schema": _v2(schema)} if schema else {})}
        kept = {key: value for key, value in operation.items() if key not in ("requestBody", "parameters", "responses")}
        consumes = list(body["content"]) if body else ["*/*"]
        result[method] = {
            **kept,
            "parameters": parameters,
            "responses": responses,
            "consumes": consumes,
            "produces": ["application/json"],
            "schemes": ["https"],
        }
    return result


def _flat(parameter: Object) -> Object:
    return {**{key: value for key, value in parameter.items() if key != "schema"}, **parameter["schema"]}


def _v2(schema: Object) -> Object:
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace(_REF, "#/definitions/")}
    return schema
