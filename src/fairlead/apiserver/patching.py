"""patch: JSON, merge and strategic merge over the newest object; server-side apply is in `applying`."""

from __future__ import annotations

from typing import Any

from fairlead.api import patch as patches
from fairlead.api.patch import json_patch, merge, strategic
from fairlead.apiserver import codec, requests, resources, status

Object = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = ("application/apply-patch+yaml", "application/apply-patch+json")
TYPES = (JSON_PATCH, MERGE, STRATEGIC, APPLY[0])


def is_apply(info: requests.Info) -> bool:
    """True for server-side apply."""
    return codec.media_type(info.headers.get("content-type", "")) in APPLY


def patched(old: Object, info: requests.Info, resource: resources.Resource) -> Object:
    """The object with the request's patch, of its kind's shape. Raises ApiError."""
    kind = codec.media_type(info.headers.get("content-type", ""))
    if kind not in (JSON_PATCH, MERGE, STRATEGIC) or (kind == STRATEGIC and resource.custom):
        supported = TYPES if not resource.custom else (JSON_PATCH, MERGE, APPLY[0])
        raise status.unsupported_media_type(supported)
    patch = codec.parse(info.body, "application/json")
    try:
        new = _apply(kind, old, patch, resource)
    except patches.PatchTestFailed as error:
        raise status.failure(
            422, "Invalid", f"the server rejected our request due to an error in our request: {error}"
        ) from error
    except patches.PatchError as error:
        raise status.failure(
            422 if kind == JSON_PATCH else 400, "Invalid" if kind == JSON_PATCH else "BadRequest", str(error)
        ) from error
    if not isinstance(new, dict):
        raise status.bad_request("the patch does not leave an object")
    changed = {name: part for name, part in new.items() if part is not old.get(name)}
    obj = codec.shaped(new, info, resource, new=changed)
    if info.subresource != "status" or resource.custom or resource.converted:
        return _own(obj)
    # Of these nothing else is touched any more, neither by defaults nor by a conversion.
    touched = {name: part for name, part in obj.items() if name == "metadata" or part is not old.get(name)}
    return {**obj, **_own(touched)}


def _apply(kind: str, old: Object, patch: Any, resource: resources.Resource) -> Any:
    if kind == JSON_PATCH:
        return json_patch.apply(old, patch)
    if kind == STRATEGIC:
        return strategic.apply(old, patch, resource.schema or {})
    if not isinstance(patch, dict):
        raise patches.PatchError("a merge patch must be an object")
    return merge.apply(old, patch)


def _own(obj: Object) -> Object:
    """A copy that shares nothing with the old object or the patch."""
    copied: Object = codec.decode(codec.encode(obj))
    return copied
