"""Discovery: which groups, versions, kinds and verbs there are; plain and aggregated (`apidiscovery.k8s.io/v2`)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from fairlead.api.kinds import Kind
from fairlead.apiserver import aggregated, codec, requests, resources, reviews, status
from fairlead.client import exchange

Object = dict[str, Any]
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_JSON = {"content-type": "application/json"}

_SUBRESOURCES: dict[str, tuple[str, str, str, list[str]]] = {
    # subresource: (group, version, kind, verbs)
    "scale": ("autoscaling", "v1", "Scale", ["get", "patch", "update"]),
    "eviction": ("policy", "v1", "Eviction", ["create"]),
    "binding": ("", "v1", "Binding", ["create"]),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ["create"]),
    "exec": ("", "v1", "PodExecOptions", ["create", "get"]),
    "attach": ("", "v1", "PodAttachOptions", ["create", "get"]),
    "portforward": ("", "v1", "PodPortForwardOptions", ["create", "get"]),
    "proxy": ("", "v1", "{kind}ProxyOptions", [*VERBS[:2], "get", "patch", "update"]),
    "log": ("", "v1", "{kind}", ["get"]),
    "finalize": ("", "v1", "{kind}", ["update"]),
    "status": ("", "", "{kind}", ["get", "patch", "update"]),
    "ephemeralcontainers": ("", "v1", "{kind}", ["get", "patch", "update"]),
}


def subresource_of(kind: Kind, name: str) -> tuple[str, str, str, list[str]]:
    """(group, version, kind, verbs) of a subresource's objects."""
    group, version, word, verbs = _SUBRESOURCES[name]
    if name == "status":
        group, version = kind.group, kind.version
    return group, version, word.format(kind=kind.kind), verbs


def answer(info: requests.Info, registry: resources.Registry) -> exchange.Response:
    """A discovery document. Raises ApiError 404."""
    parts = [part for part in info.path.split("/") if part]
    for kind, parameters in codec.accepts(info):
        wanted = parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("g") == "apidiscovery.k8s.io"
        if kind == "application/json" and wanted and parameters.get("v") in ("v2", "v2beta1") and len(parts) == 1:
            return _aggregated(parts[0], registry, parameters["v"])
    if parts == ["api"]:
        return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
    if parts == ["apis"]:
        groups = [_group(group, versions) for group, versions in _groups(registry).items() if group]
        return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in _groups(registry):
        group = _group(parts[1], _groups(registry)[parts[1]])
        return _json({"kind": "APIGroup", "apiVersion": "v1", **group})
    if len(parts) == 2 and parts[0] == "api":
        return _resource_list("", parts[1], registry)
    if len(parts) == 3 and parts[0] == "apis":
        return _resource_list(parts[1], parts[2], registry)
    raise status.no_such_path()


def _json(body: Object) -> exchange.Response:
    return exchange.Response(200, _JSON, codec.encode(body))


def _groups(registry: resources.Registry) -> dict[str, list[str]]:
    found = registry.group_versions()
    for kind in reviews.KINDS:
        found.setdefault(kind.group, [])
        if kind.version not in found[kind.group]:
            found[kind.group].append(kind.version)
    return found | {group: list(one.versions) for group, one in registry.mounted.items()}


def _group(group: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _of(registry: resources.Registry, group: str, version: str) -> list[resources.Resource]:
    return [r for r in registry.all() if r.kind.group == group and r.kind.version == version]


def _resource_list(group: str, version: str, registry: resources.Registry) -> exchange.Response:
    found: list[Object] = []
    for resource in _of(registry, group, version):
        kind = resource.kind
        found.append(_entry(resource))
        for name in kind.subresources:
            sub_group, sub_version, word, verbs = subresource_of(kind, name)
            entry: Object = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
            if (sub_group, sub_version) != (kind.group, kind.version):
                entry |= {"group": sub_group, "version": sub_version}
            found.append(entry | {"kind": word, "verbs": verbs})
    for kind in reviews.KINDS:
        if (kind.group, kind.version) == (group, version):
            names = {"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced}
            found.append({**names, "kind": kind.kind, "verbs": ["create"]})
    if group in registry.mounted and version in registry.mounted[group].versions:
        found = registry.mounted[group].resources(version)
    elif not found:
        raise status.no_such_path()
    group_version = f"{group}/{version}" if group else version
    return _json({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found})


def _entry(resource: resources.Resource) -> Object:
    kind = resource.kind
    entry: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
    }
    entry["verbs"] = VERBS
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    text = f"{resource.stored.group}/{resource.stored.version}/{kind.kind}"
    entry["storageVersionHash"] = base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()
    return entry


def _aggregated(root: str, registry: resources.Registry, version: str) -> exchange.Response:
    items = []
    for group, versions in _groups(registry).items():
        if (root == "api") != (group == ""):
            continue
        metadata: Object = {"creationTimestamp": None}
        if group:
            metadata["name"] = group
        listed = [
            {"version": one, "freshness": "Current", "resources": _aggregated_resources(registry, group, one)}
            for one in versions
        ]
        items.append({"metadata": metadata, "versions": listed})
    api_version = f"apidiscovery.k8s.io/{version}"
    body = codec.encode({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
    etag = hashlib.sha256(body).hexdigest().upper()
    kind = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    return exchange.Response(200, {"content-type": kind, "etag": f'"{etag}"', "vary": "Accept"}, body)


def _aggregated_resources(registry: resources.Registry, group: str, version: str) -> list[Object]:
    if group in registry.mounted:
        plain = registry.mounted[group].resources(version)
        return [aggregated.entry(one, group, version) for one in plain if "/" not in one["name"]]
    found = []
    for resource in _of(registry, group, version):
        kind = resource.kind
        entry: Object = _aggregated_entry(kind, VERBS)
        entry["subresources"] = [_aggregated_subresource(kind, name) for name in kind.subresources]
        if not entry["subresources"]:
            del entry["subresources"]
        found.append(entry)
    for kind in reviews.KINDS:
        if (kind.group, kind.version) == (group, version):
            found.append(_aggregated_entry(kind, ["create"]))
    return found


def _aggregated_entry(kind: Kind, verbs: list[str]) -> Object:
    entry: Object = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": verbs,
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    return entry


def _aggregated_subresource(kind: Kind, name: str) -> Object:
    group, version, word, verbs = subresource_of(kind, name)
    return {"subresource": name, "responseKind": {"group": group, "version": version, "kind": word}, "verbs": verbs}
