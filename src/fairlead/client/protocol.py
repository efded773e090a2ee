"""The one interface to a Kubernetes API. Objects are plain dicts and keep unknown fields.

Both transports (`client.inprocess`, `client.https`) pass the check suite `fairlead.testing.check_client`. Errors are
`client.errors.ApiError`, recognized by `code` and `reason`, never by text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fairlead.api.kinds import Kind

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ObjectList:
    """One page of a list. `resource_version` is where a watch goes on; `continue_token` is "" on the last page."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. A BOOKMARK's object holds only `metadata.resourceVersion`; an ERROR's is a Status."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: Object


class Client(Protocol):
    """Verbs on one API server as one identity. Namespaced kinds need `namespace`, except in list and watch."""

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Object: ...

    async def list(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ObjectList: ...

    async def log(
        self, pod: str, *, namespace: str, container: str = "", previous: bool = False, tail_lines: int = 0
    ) -> str:
        """What a container printed, or its life before this one; the last lines of it where a number is given."""
        ...

    def watch(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events after `resource_version`. Ends when the server closes; raises ApiError (410) when that is too old.
        Whoever leaves it before its end closes it (`contextlib.aclosing`): then nothing of it is left open."""

    async def create(
        self,
        kind: Kind,
        obj: Object,
        *,
        namespace: str = "",
        subresource: str = "",
        dry_run: bool = False,
        strict: bool = False,
    ) -> Object:
        """Creates. With `strict`, unknown and repeated fields are refused (fieldValidation=Strict). With a
        `subresource` (token, eviction) the object is sent to that of the object of its name."""

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        """Replaces; with `metadata.resourceVersion` set, conflicts are ApiError 409."""

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
    ) -> Object: ...

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
    ) -> None: ...
