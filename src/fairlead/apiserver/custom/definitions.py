"""CustomResourceDefinitions: checked, accepted and served at once; deleted only after their objects have gone.

Refused: conversion webhooks, more or fewer than one storage version, schemas that are not structural, CEL rules that
cannot be evaluated here, names that another kind has. Follows `pkg/apis/apiextensions/validation` of
k8s.io/apiextensions-apiserver.
"""

from __future__ import annotations

from typing import Any

from fairlead.api import field_errors, names
from fairlead.api.kinds import Kind
from fairlead.api.structural import pruning, rules
from fairlead.apiserver import resources
from fairlead.apiserver.behaviours import base
from fairlead.apiserver.custom import behaviour
from fairlead.base import clock as clocks

Object = dict[str, Any]
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
BUCKET = "customresourcedefinitions.apiextensions.k8s.io"


class Definitions(base.Behaviour):
    """The behaviour of CustomResourceDefinitions; keeps a Registry up to date."""

    generation = ("spec",)

    def __init__(self) -> None:
        self.registry: resources.Registry | None = None

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        named = spec.setdefault("names", {})
        if named.get("kind"):
            named.setdefault("listKind", f"{named['kind']}List")
            named.setdefault("singular", named["kind"].lower())
        spec.setdefault("conversion", {}).setdefault("strategy", "None")
        obj["metadata"].setdefault("finalizers", [])
        if FINALIZER not in obj["metadata"]["finalizers"] and "deletionTimestamp" not in obj["metadata"]:
            obj["metadata"]["finalizers"].append(FINALIZER)
        if not obj["metadata"]["finalizers"]:
            del obj["metadata"]["finalizers"]

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        obj["status"] = _status(obj["spec"], [], around.now())

    def admit_update(self, obj: Object, old: Object, around: base.Surroundings) -> None:
        if obj.get("spec") == old.get("spec"):
            return
        stored = (old.get("status") or {}).get("storedVersions") or []
        obj["status"] = _status(obj["spec"], stored, around.now())

    def validate(self, obj: Object) -> base.Problems:
        return _problems(obj, self.registry)

    def validate_update(self, obj: Object, old: Object) -> base.Problems:
        found = []
        for field in ("group", "scope"):
            if obj["spec"].get(field) != old["spec"].get(field):
                found.append(field_errors.immutable(f"spec.{field}", obj["spec"].get(field)))
        for field in ("plural", "kind"):
            if obj["spec"]["names"].get(field) != old["spec"]["names"].get(field):
                found.append(field_errors.immutable(f"spec.names.{field}", obj["spec"]["names"].get(field)))
        return found

    def created(self, obj: Object, around: base.Surroundings) -> None:
        if self.registry is not None:
            install(obj, self.registry)

    def deleted(self, obj: Object, around: base.Surroundings) -> None:
        if self.registry is not None and around.get(BUCKET, "", obj["metadata"].get("name", "")) is None:
            uninstall(obj, self.registry)


def _status(spec: Object, stored: list[str], now: float) -> Object:
    stamp = clocks.rfc3339(now)
    storage = [version["name"] for version in spec.get("versions") or () if version.get("storage")]
    conditions = [
        {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"},
        {
            "type": "Established",
            "status": "True",
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
        },
    ]
    return {
        "acceptedNames": spec.get("names") or {},
        "conditions": [{**condition, "lastTransitionTime": stamp} for condition in conditions],
        "storedVersions": [*stored, *(name for name in storage if name not in stored)],
    }


def _problems(obj: Object, registry: resources.Registry | None) -> base.Problems:
    spec, found = obj.get("spec") or {}, []
    group, named = spec.get("group", ""), spec.get("names") or {}
    if not group or names.subdomain_problem(group) or "." not in group:
        found.append(field_errors.invalid("spec.group", group, "should be a domain with at least one dot"))
    expected = f"{named.get('plural', '')}.{group}"
    if obj["metadata"].get("name") != expected:
        detail = 'must be spec.names.plural+"."+spec.group'
        found.append(field_errors.invalid("metadata.name", obj["metadata"].get("name"), detail))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        found.append(field_errors.unsupported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced")))
    for field in ("plural", "singular", "kind", "listKind"):
        text = named.get(field, "")
        if not text:
            found.append(field_errors.required(f"spec.names.{field}"))
        elif problem := names.label_1035_problem(text.lower()):
            found.append(field_errors.invalid(f"spec.names.{field}", text, problem))
    if (spec.get("conversion") or {}).get("strategy", "None") != "None":
        detail = "conversion webhooks are not supported by fairlead; use strategy None"
        found.append(field_errors.invalid("spec.conversion.strategy", spec["conversion"]["strategy"], detail))
    found += _version_problems(spec)
    if registry is not None and not found:
        for version in spec["versions"]:
            other = registry.find(group, version["name"], named["plural"])
            if other is not None and not other.custom:
                found.append(field_errors.invalid("spec.group", group, "is served by Kubernetes itself"))
    return found


def _version_problems(spec: Object) -> base.Problems:
    found: base.Problems = []
    versions = spec.get("versions") or []
    if not versions:
        return [field_errors.required("spec.versions", "must have at least one version")]
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(field_errors.invalid("spec.versions", [version.get("name") for version in versions], detail))
    for index, version in enumerate(versions):
        where = f"spec.versions[{index}]"
        if problem := names.label_1035_problem(version.get("name", "")):
            found.append(field_errors.invalid(f"{where}.name", version.get("name", ""), problem))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            found.append(field_errors.required(f"{where}.schema.openAPIV3Schema", "schemas are required"))
        else:
            _structural(schema, f"{where}.schema.openAPIV3Schema", found)
            if rules.has_rules(schema):
                found += rules.check_definition(schema, f"{where}.schema.openAPIV3Schema")
            if schema.get("type") != "object":
                found.append(
                    field_errors.invalid(
                        f"{where}.schema.openAPIV3Schema.type", schema.get("type", ""), "must be object at the root"
                    )
                )
    return found


def _structural(schema: Object, path: str, found: base.Problems) -> None:
    """Every level has a type, and properties and additionalProperties are not mixed."""
    kind = schema.get("type")
    if not kind and not schema.get("x-kubernetes-int-or-string") and schema.get(pruning.PRESERVE) is not True:
        found.append(field_errors.required(f"{path}.type", "must not be empty for specified object fields"))
    if schema.get("properties") and schema.get("additionalProperties"):
        found.append(
            field_errors.forbidden(
                f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
            )
        )
    for name, part in (schema.get("properties") or {}).items():
        _structural(part, f"{path}.properties[{name}]", found)
    if isinstance(schema.get("items"), dict):
        _structural(schema["items"], f"{path}.items", found)
    elif kind == "array":
        found.append(field_errors.required(f"{path}.items", "must be specified"))
    if isinstance(schema.get("additionalProperties"), dict):
        _structural(schema["additionalProperties"], f"{path}.additionalProperties", found)


def kinds_of(spec: Object) -> dict[str, Kind]:
    """Version -> Kind of a definition's versions."""
    named, found = spec["names"], {}
    for version in spec["versions"]:
        subresources = tuple(name for name in ("status", "scale") if name in (version.get("subresources") or {}))
        found[version["name"]] = Kind(
            spec["group"],
            version["name"],
            named["kind"],
            named["plural"],
            spec["scope"] == "Namespaced",
            tuple(named.get("shortNames") or ()),
            tuple(named.get("categories") or ()),
            subresources,
        )
    return found


def install(obj: Object, registry: resources.Registry) -> None:
    """Serves the definition's served versions; the storage version comes first."""
    uninstall(obj, registry)
    spec = obj["spec"]
    kinds = kinds_of(spec)
    storage = next(kinds[version["name"]] for version in spec["versions"] if version["storage"])
    for version in sorted(spec["versions"], key=lambda version: not version["storage"]):
        if version.get("served"):
            registry.add(_resource(version, kinds[version["name"]], storage))


def uninstall(obj: Object, registry: resources.Registry) -> None:
    """Stops serving a definition."""
    spec = obj.get("spec") or {}
    for resource in list(registry.all()):
        if resource.custom and (resource.kind.group, resource.kind.plural) == (
            spec.get("group"),
            spec["names"].get("plural"),
        ):
            registry.remove(resource.kind)


def _resource(version: Object, kind: Kind, storage: Kind) -> resources.Resource:
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    columns = tuple(
        resources.Column(
            column["name"],
            column.get("type", "string"),
            column["jsonPath"],
            column.get("description", ""),
            column.get("format", ""),
            column.get("priority", 0),
        )
        for column in version.get("additionalPrinterColumns") or ()
    )
    scale = (version.get("subresources") or {}).get("scale")
    paths = None
    if scale is not None:
        paths = resources.ScalePaths(
            scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", "")
        )
    resource = resources.Resource(
        kind,
        storage if kind != storage else kind,
        behaviour.Custom(schema),
        schema=schema,
        columns=columns,
        scale=paths,
        custom=True,
        selectable=tuple(field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()),
    )
    if kind != storage:
        resource.decode_stored = lambda obj: {**obj, "apiVersion": kind.api_version}
        resource.encode_stored = lambda obj: {**obj, "apiVersion": storage.api_version}
    if version.get("deprecated"):
        default = f"{kind.api_version} {kind.kind} is deprecated"
        resource.deprecation = version.get("deprecationWarning") or default
    return resource
