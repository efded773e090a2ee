"""Bytes to objects and back: JSON and YAML bodies within limits, field validation, media types.

Refused: bodies over 3 MiB, nesting deeper than 64, YAML with aliases beyond reason. Unknown and duplicate
fields are dropped, warned about or refused as `fieldValidation` says (Warn unless told otherwise), in Kubernetes'
words.
"""

from __future__ import annotations

import functools
import itertools
import json
from typing import Any

import msgspec

from fairlead.api.kinds import Kind
from fairlead.api.schema import pack, protobuf, shape
from fairlead.api.structural import pruning
from fairlead.apiserver import requests, resources, status

Object = dict[str, Any]

BODY_BYTES = 3 << 20
DEPTH = 64
REMEMBERED_BYTES = 64 << 10
_METADATA = {"$ref": pack.REF + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
PROTOBUF = "application/vnd.kubernetes.protobuf"

encode = msgspec.json.encode
decode: Any = msgspec.json.Decoder(dict[str, Any]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


@functools.lru_cache(maxsize=32)
def shared(value: bytes) -> Object:
    """A stored object that is asked for again and again: the namespace, the account and the node of every new pod. Not
    to be changed."""
    found: Object = decode(value)
    return found


def media_type(header: str) -> str:
    """A media type without its parameters."""
    return header.partition(";")[0].strip().lower()


def parse(body: bytes, content_type: str) -> Any:
    """A body's value. Raises ApiError 400 or 415."""
    kind = media_type(content_type) or "application/json"
    if kind in ("application/yaml", "application/apply-patch+yaml"):
        value = _parse_yaml(body)
    elif kind in ("application/json", "text/json", "application/x-www-form-urlencoded", "*/*") or kind.endswith(
        "+json"
    ):
        value = _parse_json(body)
    elif kind == PROTOBUF:
        try:
            return protobuf.decode(body)
        except protobuf.ProtobufError as error:
            raise status.bad_request(f"the protobuf body cannot be decoded: {error}") from error
    else:
        raise status.unsupported_media_type(("application/json", "application/yaml", PROTOBUF))
    if body.count(b"{") + body.count(b"[") > DEPTH or kind.endswith("yaml"):
        _check_depth(value)
    return value


def _parse_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def _parse_yaml(body: bytes) -> Any:
    stripped = body.lstrip()
    if stripped[:1] in (b"{", b"["):
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # flow-style YAML
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if sum(1 for token in yaml.scan(body, Loader=loader) if isinstance(token, yaml.AliasToken)) > 100:
            raise status.bad_request("error converting YAML to JSON: document contains excessive aliasing")
        value = yaml.load(body, Loader=loader)  # noqa: S506 -- a safe loader
        return msgspec.json.decode(msgspec.json.encode(value))
    except (yaml.YAMLError, msgspec.DecodeError, RecursionError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise status.bad_request(f"error converting YAML to JSON: {error}") from error


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH + 1):
        level = [
            child
            for part in level
            if isinstance(part, (dict, list))
            for child in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return
    raise status.bad_request(f"the object is nested deeper than {DEPTH} levels")


def read_object(info: requests.Info, resource: resources.Resource, *, stored: bytes = b"") -> Object:
    """The object in a request's body, of its kind's shape. What is there in the very bytes of `stored`, the object as
    it is, is good: most writes change little."""
    if not info.body:
        raise status.bad_request("the request body is empty")
    content_type = info.headers.get("content-type", "")
    if content_type != "application/json" or resource.custom or resource.converted:
        return shaped(parse(info.body, content_type), info, resource)
    if info.body == resource.last_good:
        return shaped(_parse_json(info.body), info, resource, new={})
    if not stored:
        value = parse(info.body, content_type)
        obj = shaped(value, info, resource)
        if obj is value and len(info.body) <= REMEMBERED_BYTES:
            resource.last_good = info.body
        return obj
    value = _parse_json(info.body)
    new = _new_parts(value, info.body, stored) if isinstance(value, dict) else value
    _check_depth(new)
    return shaped(value, info, resource, new=new)


def _new_parts(value: Object, body: bytes, stored: bytes) -> Object:
    """The fields of the value, and of lists the elements, that are not in the stored object as they are in the body."""
    found, before = {}, _fields(stored)
    for name, raw in _fields(body).items():
        old = before.get(name)
        if raw != old:
            part = value[name]
            found[name] = _new_elements(part, raw, old) if isinstance(part, list) and old is not None else part
    return found


def _new_elements(value: list[Any], raw: msgspec.Raw, old: msgspec.Raw) -> list[Any]:
    try:
        pairs = itertools.zip_longest(_elements(raw), _elements(old)[: len(value)])
    except msgspec.ValidationError:
        return value
    return [part for part, (now, before) in zip(value, pairs, strict=True) if now != before]


def shaped(value: Any, info: requests.Info, resource: resources.Resource, *, new: Object | None = None) -> Object:
    """The value as an object of the resource's kind, without what does not belong there. `new` is all of it that may
    not be of its shape; without it, that is everything."""
    kind = resource.kind
    if not isinstance(value, dict):
        raise status.bad_request(f"the object provided is unrecognized (must be of type {kind.kind})")
    given = (value.get("apiVersion"), value.get("kind"))
    if given != (kind.api_version, kind.kind):
        _check_kind(value, resource)
    if resource.custom:
        return _shaped_custom(value, info, resource)
    if resource.checks(value if new is None else new) and not _wants_duplicates(info):
        return value
    report = shape.Report()
    mode = info.first("fieldValidation") or "Warn"
    if mode not in ("Ignore", "Warn", "Strict"):
        message = f'fieldValidation: Unsupported value: "{mode}": supported values: "Ignore", "Strict", "Warn"'
        raise status.failure(422, "Invalid", message)
    if resource.schema is not None and not resource.checks(value):
        try:
            value = shape.clean(value, resource.schema, report, owner=kind.kind)
        except shape.ShapeError as error:
            message = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {error}'
            raise status.bad_request(message) from error
    problems = [f'unknown field "{path}"' for path in report.unknown]
    if _wants_duplicates(info):
        problems += [f'duplicate field "{path}"' for path in duplicates(info.body)]
    _report(problems, mode, info, resource)
    return dict(value)


def shaped_as(value: Any, kind: Kind) -> Object:
    """The value as an object of a kind that is answered and not kept (reviews, TokenRequests). Raises ApiError 400."""
    if not isinstance(value, dict):
        raise status.bad_request(f"the object provided is unrecognized (must be of type {kind.kind})")
    definition = pack.definition_of(kind.group, kind.version, kind.kind)
    if shape.shapes.check(definition)(value):
        return value
    schema = pack.definitions()[definition]
    try:
        return dict(shape.clean(value, schema, shape.Report(), owner=kind.kind))
    except shape.ShapeError as error:
        message = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {error}'
        raise status.bad_request(message) from error


def _shaped_custom(value: Object, info: requests.Info, resource: resources.Resource) -> Object:
    """A custom object: pruned by its structural schema, its metadata by Kubernetes' own."""
    unknown: list[str] = []
    value = pruning.prune(value, resource.schema or {}, unknown, root=True)
    report = shape.Report()
    if "metadata" in value:
        try:
            value["metadata"] = shape.clean(value["metadata"], _METADATA, report, path="metadata")
        except shape.ShapeError as error:
            kind = resource.kind
            message = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {error}'
            raise status.bad_request(message) from error
    problems = [f'unknown field "{path}"' for path in report.unknown + unknown]
    _report(problems, info.first("fieldValidation") or "Warn", info, resource)
    return value


def _wants_duplicates(info: requests.Info) -> bool:
    return info.first("fieldValidation") == "Strict" and info.method in ("POST", "PUT")


def _report(problems: list[str], mode: str, info: requests.Info, resource: resources.Resource) -> None:
    if not problems:
        return
    if mode == "Strict":
        kind = resource.kind
        message = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
        raise status.bad_request(message + "strict decoding error: " + ", ".join(problems))
    if mode == "Warn":
        info.warnings.extend(problems)


def _check_kind(value: Object, resource: resources.Resource) -> None:
    kind = resource.kind
    api_version, name = value.get("apiVersion") or kind.api_version, value.get("kind") or kind.kind
    if not isinstance(api_version, str) or not isinstance(name, str):
        raise status.bad_request("couldn't get version/kind; json parse error: apiVersion and kind must be strings")
    if name != kind.kind:
        raise status.bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): {name} of {api_version} does not match"
        )
    if api_version != kind.api_version:
        raise status.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({kind.api_version})"
        )
    value["apiVersion"], value["kind"] = api_version, name


def duplicates(body: bytes) -> list[str]:
    """Paths of keys that an object of the body has twice. The body is known to be JSON."""
    twice: list[str] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice.extend(sorted({key for key in keys if keys.count(key) > 1}))
        return found

    try:
        json.loads(body, object_pairs_hook=build)
    except ValueError:
        return []  # YAML
    return twice


def accepts(info: requests.Info) -> list[tuple[str, dict[str, str]]]:
    """The accepted media types in order, with their parameters."""
    found = []
    for part in (info.headers.get("accept") or "*/*").split(","):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        pairs = (parameter.partition("=") for parameter in parameters)
        found.append((kind.lower(), {name.strip(): value.strip() for name, _, value in pairs}))
    return found


def table_wanted(info: requests.Info) -> str:
    """The version of `meta.k8s.io` in which a Table is asked for, or "" for the objects. Raises ApiError 406."""
    header = info.headers.get("accept") or "*/*"
    if header in ("application/json", "*/*"):
        return ""
    for kind, parameters in accepts(info):
        if kind not in ("application/json", "*/*", "application/*", "application/yaml"):
            continue
        wanted = parameters.get("as", "")
        if wanted == "Table" and parameters.get("v") in ("v1", "v1beta1"):
            return parameters["v"]
        if not wanted:
            return ""
        if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList") and parameters.get("v") == "v1":
            return "partial"
    raise status.not_acceptable(("application/json",))
