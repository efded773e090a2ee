"""Kubernetes' REST conventions over an `Exchange`: what a verb asks for and what its answer means.

This is the one implementation of `client.protocol.Client`; the transports differ only in the Exchange they give it.
An answer of 300 and more is an ApiError that carries the server's Status (or one made from the answer's code).
Watches are JSON lines; a line may come in several pieces. The client never retries: whoever asked decides.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.client import errors, exchange, hearing, protocol

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_JSON = {"accept": "application/json", "content-type": "application/json"}


class RestClient:
    """Verbs on one API server over one Exchange."""

    def __init__(self, send: exchange.Exchange, *, identity: exchange.Identity | None = None) -> None:
        self._send = send
        self._identity = identity

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> protocol.Object:
        return await self._object("GET", kind.path(namespace, name))

    async def list(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> protocol.ObjectList:
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            **{"continue": continue_token},
        )
        body = await self._object("GET", kind.path(namespace), query=query)
        for item in body.get("items") or ():
            item.setdefault("apiVersion", kind.api_version)
            item.setdefault("kind", kind.kind)
        metadata = body.get("metadata") or {}
        return protocol.ObjectList(
            items=body.get("items") or [],
            resource_version=metadata.get("resourceVersion", ""),
            continue_token=metadata.get("continue", ""),
        )

    async def log(
        self, pod: str, *, namespace: str, container: str = "", previous: bool = False, tail_lines: int = 0
    ) -> str:
        query = _query(
            container=container,
            previous="true" if previous else "",
            tailLines=str(tail_lines) if tail_lines else "",
        )
        response = await self._send(self._request("GET", kinds.POD.path(namespace, pod, "log"), query=query))
        if response.status >= 300:
            raise failure(response)
        try:
            parts = [response.body]
            if response.stream is not None:
                parts += [chunk async for chunk in response.stream]
        finally:
            await response.close()
        return b"".join(parts).decode(errors="replace")

    async def watch(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[protocol.WatchEvent, None]:
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        response = await self._send(self._request("GET", kind.path(namespace), query=query))
        if response.status >= 300 or response.stream is None:
            raise failure(response)
        rest = b""
        try:
            async for chunk in response.stream:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in filter(None, whole):
                    event = _EVENT.decode(line)
                    if event.type == "ERROR":
                        raise errors.ApiError(event.object)
                    yield protocol.WatchEvent(event.type, event.object)
        finally:
            await response.close()

    async def create(
        self,
        kind: Kind,
        obj: protocol.Object,
        *,
        namespace: str = "",
        subresource: str = "",
        dry_run: bool = False,
        strict: bool = False,
    ) -> protocol.Object:
        metadata = obj.get("metadata") or {}
        where = namespace or metadata.get("namespace", "")
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        query = _query(dryRun="All" if dry_run else "", fieldValidation="Strict" if strict else "")
        path = kind.path(where, metadata["name"], subresource) if subresource else kind.path(where)
        return await self._object("POST", path, query=query, body=body)

    async def update(self, kind: Kind, obj: protocol.Object, *, subresource: str = "") -> protocol.Object:
        metadata = obj["metadata"]
        path = kind.path(metadata.get("namespace", ""), metadata["name"], subresource)
        return await self._object("PUT", path, body={"apiVersion": kind.api_version, "kind": kind.kind, **obj})

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        patch_type: Literal["merge", "json", "strategic", "apply"] = "merge",
        subresource: str = "",
        field_manager: str = "fairlead",
        force: bool = False,
        dry_run: bool = False,
        strict: bool = False,
    ) -> protocol.Object:
        query = _query(
            fieldManager=field_manager,
            force="true" if force else "",
            dryRun="All" if dry_run else "",
            fieldValidation="Strict" if strict else "",
        )
        path = kind.path(namespace, name, subresource)
        return await self._object("PATCH", path, query=query, body=patch, content_type=PATCH_TYPES[patch_type])

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        propagation: Literal["", "Background", "Foreground", "Orphan"] = "",
        grace_seconds: int | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        conditions = {"uid": uid, "resourceVersion": resource_version}
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation:
            options["propagationPolicy"] = propagation
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if given := {key: text for key, text in conditions.items() if text}:
            options["preconditions"] = given
        await self._object("DELETE", kind.path(namespace, name), body=options)

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: tuple[tuple[str, str], ...] = (),
        body: Any = None,
        content_type: str = "",
    ) -> exchange.Request:
        return exchange.Request(
            method=method,
            path=path,
            query=query,
            headers={**_JSON, "content-type": content_type} if content_type else _JSON,
            body=b"" if body is None else msgspec.json.encode(body),
            identity=self._identity,
        )

    async def _object(
        self,
        method: str,
        path: str,
        *,
        query: tuple[tuple[str, str], ...] = (),
        body: Any = None,
        content_type: str = "",
    ) -> protocol.Object:
        response = await self._send(self._request(method, path, query=query, body=body, content_type=content_type))
        hearing.hear(response.headers)
        if response.status >= 300:
            raise failure(response)
        return _OBJECT.decode(response.body)


class _Event(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: dict[str, Any]


_EVENT = msgspec.json.Decoder(_Event)
_OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def failure(response: exchange.Response) -> errors.ApiError:
    """The Status of a failed answer; servers that send none get one made from the code."""
    try:
        status = _OBJECT.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = {}
    if status.get("kind") != "Status":
        text = response.body[:200].decode("utf-8", "replace").strip()
        code = max(response.status, 500) if response.status < 400 else response.status
        phrase = HTTPStatus(code).phrase if code in HTTPStatus._value2member_map_ else "unknown answer"
        status = {"kind": "Status", "status": "Failure", "reason": phrase.replace(" ", ""), "message": text or phrase}
        status["code"] = code
    return errors.ApiError({"code": response.status, **status})


def _query(**parameters: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in parameters.items() if text)
