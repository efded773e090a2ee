"""What an informer knows: a read-only view of one kind's objects, by key and by index.

The objects are shared by everybody who reads them: copy before changing one. An index is a function from an object to
the values under which it is found (client-go's `cache.Indexer`).
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fairlead.client.protocol import Object

Index = Callable[[Object], Iterable[str]]


def key_of(obj: Object) -> str:
    """`namespace/name`, or `name` for cluster-scoped objects."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def split(key: str) -> tuple[str, str]:
    """(namespace, name) of a key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def by_namespace(obj: Object) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)


def by_controller(obj: Object) -> Iterable[str]:
    """The uid of the owner that controls the object."""
    return (ref["uid"] for ref in obj["metadata"].get("ownerReferences") or () if ref.get("controller"))


class Cache:
    """Objects by key and by index. Only its informer changes it."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._indexers: dict[str, Index] = {"namespace": by_namespace}
        self._indexes: dict[str, dict[str, dict[str, Object]]] = {"namespace": {}}

    def get(self, key: str) -> Object | None:
        return self._objects.get(key)

    def list(self, namespace: str = "") -> list[Object]:
        """All objects, or those of one namespace."""
        return self.indexed("namespace", namespace) if namespace else list(self._objects.values())

    def indexed(self, index: str, value: str) -> builtins.list[Object]:
        """The objects that the index files under the value."""
        return list(self._indexes[index].get(value, {}).values())

    def keys(self) -> Iterator[str]:
        return iter(list(self._objects))

    def __len__(self) -> int:
        return len(self._objects)

    def add_index(self, name: str, index: Index) -> None:
        """Files every object, present and future, under the index. The same name must be the same function."""
        if self._indexers.get(name, index) is not index:
            raise ValueError(f"another index is already named {name!r}")
        self._indexers[name] = index
        table = self._indexes.setdefault(name, {})
        for key, obj in self._objects.items():
            for value in index(obj):
                table.setdefault(value, {})[key] = obj

    def _put(self, key: str, obj: Object) -> Object | None:
        old = self._objects.get(key)
        self._objects[key] = obj
        for name, index in self._indexers.items():
            table, now = self._indexes[name], list(index(obj))
            if old is not None:
                _take_out(table, [value for value in index(old) if value not in now], key)
            for value in now:
                table.setdefault(value, {})[key] = obj
        return old

    def _remove(self, key: str) -> Object | None:
        old = self._objects.pop(key, None)
        if old is not None:
            for name, index in self._indexers.items():
                _take_out(self._indexes[name], index(old), key)
        return old


def _take_out(table: dict[str, dict[str, Object]], values: Iterable[str], key: str) -> None:
    for value in values:
        entries: dict[str, Any] = table.get(value, {})
        entries.pop(key, None)
        if not entries:
            table.pop(value, None)


class OwnedCache(Cache):
    """The informer's side of a Cache."""

    def put(self, key: str, obj: Object) -> Object | None:
        """Files the object; returns the one it replaces."""
        return self._put(key, obj)

    def remove(self, key: str) -> Object | None:
        """Takes the object out and returns it."""
        return self._remove(key)
