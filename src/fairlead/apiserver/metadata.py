"""metadata: what the server sets, what a writer may change, what is refused. The same for every kind."""

from __future__ import annotations

from typing import Any

from fairlead.api import field_errors, names
from fairlead.apiserver import requests, resources, status
from fairlead.apiserver.around import Around
from fairlead.base import clock as clocks

Object = dict[str, Any]
_SERVER_SET = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
    "selfLink",
    "generation",
)


def begin(obj: Object, info: requests.Info, resource: resources.Resource, around: Around) -> None:
    """Completes the metadata of a new object. Raises ApiError."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise status.bad_request("metadata must be an object")
    _leave_out_empty(metadata)
    _place(metadata, info, resource)
    for field in (*_SERVER_SET, "managedFields"):
        metadata.pop(field, None)
    if not metadata.get("name") and metadata.get("generateName"):
        base = metadata["generateName"][: 63 - 5] if len(metadata["generateName"]) > 58 else metadata["generateName"]
        metadata["name"] = base + around.random_name(5)
        for _ in range(7):  # a name that is taken is no reason to refuse (KEP-4420)
            if not around.exists(resource.key(metadata.get("namespace", ""), metadata["name"])):
                break
            metadata["name"] = base + around.random_name(5)
    metadata["uid"] = around.uid()
    metadata["creationTimestamp"] = clocks.rfc3339(around.now())
    if resource.behaviour.generation or resource.custom:
        metadata["generation"] = 1


def _leave_out_empty(metadata: Object) -> None:
    """As Go's omitempty does: kubectl sends `annotations: {}`, and would see a difference that is none."""
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if field in metadata and metadata[field] in ({}, [], None):
            del metadata[field]


def _place(metadata: Object, info: requests.Info, resource: resources.Resource) -> None:
    if not resource.kind.namespaced:
        if metadata.pop("namespace", ""):
            raise status.bad_request("namespace is not allowed for this kind: it is cluster-scoped")
        return
    given = metadata.get("namespace") or info.namespace
    if given != info.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if not given:
        raise status.bad_request("an empty namespace may not be set during creation")
    metadata["namespace"] = given


def carry(obj: Object, old: Object, info: requests.Info, resource: resources.Resource) -> None:
    """Makes the metadata of an update: what only the server sets is the old object's. Raises ApiError."""
    metadata, before = obj.setdefault("metadata", {}), old["metadata"]
    if not isinstance(metadata, dict):
        raise status.bad_request("metadata must be an object")
    _leave_out_empty(metadata)
    name = metadata.get("name", "")
    if name and name != info.name:
        raise status.bad_request(f"the name of the object ({name}) does not match the name on the URL ({info.name})")
    if metadata.get("namespace", info.namespace) != info.namespace and resource.kind.namespaced:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    uid, version = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != before["uid"]:
        detail = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}"
        raise status.conflict(resource.kind, info.name, detail)
    if version and version != before["resourceVersion"]:
        if not version.isdecimal():
            found = [field_errors.invalid("metadata.resourceVersion", version, "must be a number")]
            raise status.invalid(resource.kind, info.name, found)
        raise status.conflict(resource.kind, info.name)
    for field in ("name", "namespace", "generateName", *_SERVER_SET):
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)


def touch(obj: Object, old: Object, resource: resources.Resource) -> None:
    """Raises the generation when what it counts has changed."""
    if "generation" not in old["metadata"] and not resource.behaviour.generation and not resource.custom:
        return
    if resource.custom:
        left_out = (
            ("metadata", "status", "apiVersion", "kind")
            if resource.has("status")
            else ("metadata", "apiVersion", "kind")
        )
        changed = {k: v for k, v in obj.items() if k not in left_out} != {
            k: v for k, v in old.items() if k not in left_out
        }
    else:
        changed = any(obj.get(field) != old.get(field) for field in resource.behaviour.generation)
    if changed:
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def validate(obj: Object, resource: resources.Resource) -> list[field_errors.FieldError]:
    """What is wrong with the metadata."""
    metadata = obj["metadata"]
    found: list[field_errors.FieldError] = []
    name = metadata.get("name", "")
    if not name:
        found.append(field_errors.required("metadata.name", "name or generateName is required"))
    elif problem := resource.behaviour.name_problem(name, prefix=False):
        found.append(field_errors.invalid("metadata.name", name, problem))
    if "labels" in metadata:
        found += names.validate_labels(metadata["labels"], "metadata.labels")
    if "annotations" in metadata:
        found += names.validate_annotations(metadata["annotations"], "metadata.annotations")
    if "finalizers" in metadata:
        found += names.validate_finalizers(metadata["finalizers"], "metadata.finalizers")
    if "ownerReferences" in metadata:
        found += names.validate_owners(metadata["ownerReferences"], "metadata.ownerReferences")
    return found


def validate_update(obj: Object, old: Object) -> list[field_errors.FieldError]:
    """What may not change in the metadata: new finalizers on an object that is being deleted."""
    metadata, before = obj["metadata"], old["metadata"]
    if "deletionTimestamp" not in before:
        return []
    added = [text for text in metadata.get("finalizers") or () if text not in (before.get("finalizers") or ())]
    if not added:
        return []
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
    return [field_errors.forbidden("metadata.finalizers", detail)]
