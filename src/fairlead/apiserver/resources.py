"""What the API serves: one Resource for each kind and version, found by group, version and plural.

A Resource joins a Kind with its schema, its behaviour (defaults, validation) and the form in which it is stored: kinds
served in several versions are stored in one of them and converted on the way in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.api.schema import pack, shape
from fairlead.apiserver import aggregated, conversions, refused
from fairlead.apiserver.behaviours import base

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of a custom resource."""

    name: str
    type: str
    path: str
    description: str = ""
    format: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a custom resource keeps its numbers of replicas."""

    spec: str
    status: str
    selector: str = ""


@dataclass(slots=True)
class Resource:
    """One kind in one version, as served. `stored` is the kind of the version in the store."""

    kind: Kind
    stored: Kind
    behaviour: base.Behaviour
    definition: str = ""
    schema: pack.Schema | None = None
    columns: tuple[Column, ...] = ()
    scale: ScalePaths | None = None
    custom: bool = False
    selectable: tuple[str, ...] = ()
    deprecation: str = ""
    decode_stored: Callable[[Object], Object] | None = None
    encode_stored: Callable[[Object], Object] | None = None
    storage_version_hash: str = field(default="")
    bucket: str = field(init=False)  # the first segment of its keys
    last_good: bytes = b""  # the last body of its shape: the pods of one template are made of the same bytes

    def __post_init__(self) -> None:
        self.bucket = str(self.stored)

    @property
    def list_kind(self) -> str:
        return f"{self.kind.kind}List"

    @property
    def converted(self) -> bool:
        """True when the stored bytes are not what is served."""
        return self.kind is not self.stored

    def key(self, namespace: str, name: str) -> str:
        return f"{self.bucket}/{namespace}/{name}"

    def prefix(self, namespace: str = "") -> str:
        return f"{self.bucket}/{namespace}/" if namespace else f"{self.bucket}/"

    def checks(self, obj: Object) -> bool:
        """True when the object is exactly of its schema's shape."""
        return shape.shapes.check(self.definition)(obj) if self.definition else False

    def has(self, subresource: str) -> bool:
        return subresource in self.kind.subresources


class Registry:
    """All Resources. Custom ones come and go; `generation` grows when the set changes."""

    def __init__(self, behaviours: dict[str, base.Behaviour]) -> None:
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self.generation = 0
        self.mounted: aggregated.Mounted = {**refused.GROUPS}  # groups that somebody else answers for
        for kind in kinds.KINDS:
            self.add(_built_in(kind, behaviours.get(str(kind), base.Behaviour())))

    def add(self, resource: Resource) -> None:
        kind = resource.kind
        self._resources[kind.group, kind.version, kind.plural] = resource
        self.generation += 1

    def remove(self, kind: Kind) -> None:
        self._resources.pop((kind.group, kind.version, kind.plural), None)
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._resources.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The Resource of an object's apiVersion and kind."""
        for resource in self._resources.values():
            if resource.kind.kind == kind and resource.kind.api_version == api_version:
                return resource
        return None

    def all(self) -> Iterable[Resource]:
        return self._resources.values()

    def group_versions(self) -> dict[str, list[str]]:
        """Group -> versions, preferred first, in the order of their first kind."""
        found: dict[str, list[str]] = {}
        for kind in (resource.kind for resource in self._resources.values()):
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return found


def _built_in(kind: Kind, behaviour: base.Behaviour) -> Resource:
    definition = pack.definition_of(kind.group, kind.version, kind.kind)
    conversion = conversions.CONVERSIONS.get((kind.group, kind.version, kind.plural))
    stored = kind if conversion is None else conversion.stored
    resource = Resource(kind, stored, behaviour, definition=definition, schema=pack.definitions()[definition])
    if conversion is not None:
        resource.decode_stored, resource.encode_stored = conversion.from_stored, conversion.to_stored
    return resource
