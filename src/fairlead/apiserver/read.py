"""get and list: bytes from the view to the answer, decoded only when a selector, a Table or a conversion asks for it.

Lists are consistent: `continue` goes on at the first page's revision while the window of history holds it, and is
refused with 410 afterwards. `resourceVersion` is honoured as Kubernetes' API concepts describe it; the view is
always the newest, so "not older than" needs no waiting unless the revision lies ahead.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Any

import msgspec

from fairlead.api import selectors
from fairlead.apiserver import codec, requests, resources, status, tables
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
JSON = {"content-type": "application/json"}
CHUNK = 512

Match = Callable[[protocol.Entry], bool]


class _Meta(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct):
    metadata: _Meta


_labels = msgspec.json.Decoder(_Labelled)


def labels_of(value: bytes) -> dict[str, str] | None:
    """An object's labels, without decoding the rest."""
    return _labels.decode(value).metadata.labels


def view(entry: protocol.Entry, resource: resources.Resource) -> Object:
    """The object as this version serves it."""
    obj: Object = codec.decode(entry.value)
    return resource.decode_stored(obj) if resource.decode_stored else obj


def value(entry: protocol.Entry, resource: resources.Resource) -> bytes:
    """The object's JSON as this version serves it."""
    return codec.encode(view(entry, resource)) if resource.converted else entry.value


GENERIC_FIELDS = ("metadata.name", "metadata.namespace")


def field_test(info: requests.Info, resource: resources.Resource) -> tuple[selectors.FieldTest | None, str, str]:
    """The test of the request's fieldSelector, and the name and namespace if it asks for exactly one."""
    text = info.first("fieldSelector")
    if not text:
        return None, "", ""
    known = (*GENERIC_FIELDS, *resource.behaviour.field_labels, *resource.selectable)
    name = namespace = ""
    try:
        terms = selectors.parse_fields(text)
    except selectors.SelectorError as error:
        raise status.bad_request(f"unable to parse field selector: {error}") from error
    for path, equal, wanted in terms:
        if path not in known:
            raise status.bad_request(f"field label not supported: {path}")
        if path == "metadata.name" and equal:
            name = wanted
        elif path == "metadata.namespace" and equal:
            namespace = wanted
    if name and len(terms) == 1:
        return None, name, ""
    return selectors.field_test(text), name, namespace


def label_test(info: requests.Info) -> selectors.Selector | None:
    """The request's labelSelector; None when it selects everything."""
    text = info.first("labelSelector")
    if not text:
        return None
    try:
        selector = selectors.parse(text)
    except selectors.SelectorError as error:
        raise status.bad_request(f"unable to parse label selector: {error}") from error
    return None if selector.empty else selector


def matcher(info: requests.Info, resource: resources.Resource) -> Match | None:
    """One test of an entry for all selectors of the request; None when everything matches."""
    labels = label_test(info)
    fields, name, _ = field_test(info, resource)
    if labels is None and fields is None and not name:
        return None
    tail = f"/{name}" if name else ""

    def match(entry: protocol.Entry) -> bool:
        if tail and not entry.key.endswith(tail):
            return False
        if labels is not None and not labels.matches(labels_of(entry.value)):
            return False
        return fields is None or fields(codec.decode(entry.value))

    return match


def get(store: protocol.Store, info: requests.Info, resource: resources.Resource) -> exchange.Response:
    """One object."""
    entry = store.get(resource.key(info.namespace, info.name))
    if entry is None:
        raise status.not_found(resource.kind, info.name)
    wanted = codec.table_wanted(info)
    if wanted == "partial":
        return exchange.Response(200, JSON, codec.encode(tables.partial(view(entry, resource))))
    if wanted:
        table = tables.table(resource, [view(entry, resource)], str(entry.revision), info, version=wanted)
        return exchange.Response(200, JSON, codec.encode(table))
    return exchange.Response(200, JSON, value(entry, resource))


async def listing(store: protocol.Store, info: requests.Info, resource: resources.Resource) -> exchange.Response:
    """A page of a collection."""
    wanted = codec.table_wanted(info)
    entries, metadata = await _select(store, info, resource)
    if wanted == "partial":
        items = [tables.partial(view(entry, resource)) for entry in entries]
        body = {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": items,
        }
        return exchange.Response(200, JSON, codec.encode(body))
    if wanted:
        objects = await _decoded(entries, resource)
        table = tables.table(resource, objects, metadata["resourceVersion"], info, version=wanted)
        table["metadata"] = metadata
        return exchange.Response(200, JSON, codec.encode(table))
    head = {"kind": resource.list_kind, "apiVersion": resource.kind.api_version, "metadata": metadata}
    values = [value(entry, resource) for entry in entries]
    body_bytes = codec.encode(head)[:-1] + b',"items":[' + b",".join(values) + b"]}"
    return exchange.Response(200, JSON, body_bytes)


async def _decoded(entries: list[protocol.Entry], resource: resources.Resource) -> list[Object]:
    objects: list[Object] = []
    for start in range(0, len(entries), CHUNK):
        objects += [view(entry, resource) for entry in entries[start : start + CHUNK]]
        await asyncio.sleep(0)
    return objects


async def _select(
    store: protocol.Store, info: requests.Info, resource: resources.Resource
) -> tuple[list[protocol.Entry], Object]:
    limit, prefix = info.number("limit"), resource.prefix(info.namespace)
    revision, after = _start(store, info, resource)
    match = matcher(info, resource)
    try:
        if match is None:
            page = store.page(prefix, after=after, limit=limit, revision=revision)
            return page.entries, _list_metadata(page, page.remaining, exact=True)
        page = store.page(prefix, after=after, revision=revision)
    except protocol.Compacted as error:
        raise status.expired(
            "The provided continue parameter is too old to display a consistent list result."
        ) from error
    except protocol.FutureRevision as error:
        raise status.timeout(str(error)) from error
    found, seen = [], 0
    for entry in page.entries:
        seen += 1
        if match(entry):
            found.append(entry)
            if limit and len(found) == limit:
                break
        if seen % CHUNK == 0:
            await asyncio.sleep(0)
    trimmed = protocol.Page(found, page.revision, len(page.entries) - seen)
    return found, _list_metadata(trimmed, trimmed.remaining, exact=False)


def _list_metadata(page: protocol.Page, remaining: int, *, exact: bool) -> Object:
    metadata: Object = {"resourceVersion": str(page.revision)}
    if remaining and page.entries:
        metadata["continue"] = _token(page.revision, page.entries[-1].key)
        if exact:
            metadata["remainingItemCount"] = remaining
    return metadata


def _token(revision: int, key: str) -> str:
    return base64.urlsafe_b64encode(codec.encode({"v": "meta.k8s.io/v1", "rv": revision, "start": key})).decode()


def _start(store: protocol.Store, info: requests.Info, resource: resources.Resource) -> tuple[int, str]:
    """(revision to read at or 0 for the newest, key to go on behind)."""
    token, version = info.first("continue"), info.first("resourceVersion")
    if token:
        if version and version != "0":
            raise status.bad_request("specifying resource version is not allowed when using continue")
        return _read_token(token, resource.prefix(info.namespace))
    number = parse_version(version)
    match = info.first("resourceVersionMatch")
    if match and not version:
        raise status.failure(
            422,
            "Invalid",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        )
    if match not in ("", "Exact", "NotOlderThan"):
        raise status.failure(
            422,
            "Invalid",
            f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"',
        )
    if number > store.revision:
        raise status.timeout(f"Too large resource version: {number}, current: {store.revision}")
    if match == "Exact" or (not match and number and info.number("limit")):
        return number, ""
    return 0, ""


def parse_version(text: str) -> int:
    """A resourceVersion as a number; "" and "0" are 0."""
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 18:
        raise status.failure(
            422, "Invalid", f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: invalid syntax'
        )
    return int(text)


def _read_token(token: str, prefix: str) -> tuple[int, str]:
    try:
        found = codec.decode(base64.urlsafe_b64decode(token))
        revision, key = found["rv"], found["start"]
    except (binascii.Error, msgspec.DecodeError, ValueError, KeyError, UnicodeDecodeError):
        revision, key = 0, ""
    if not isinstance(revision, int) or revision <= 0 or not isinstance(key, str) or not key.startswith(prefix):
        raise status.bad_request("continue key is not valid: it was not made for this list")
    return revision, key
