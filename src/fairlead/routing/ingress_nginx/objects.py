"""The Secrets and ConfigMaps that an accepted Ingress names: only those are read, and only in its own namespace."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]


class Lookup:
    """Objects of one kind, found by an Ingress's words."""

    def __init__(self, kind: str, objects: Mapping[str, Object]) -> None:
        self._kind, self._objects = kind, objects

    def get(self, reference: tuple[str, str], *, namespace: str) -> Object:
        """The object. Raises ValueError where there is none, or it is another namespace's."""
        named, name = reference
        if named not in ("", namespace):
            raise ValueError(f"{self._kind} {named}/{name} is in another namespace, which is never read")
        found = self._objects.get(f"{namespace}/{name}")
        if found is None:
            raise ValueError(f"there is no {self._kind} {namespace}/{name}")
        return found

    def at(self, key: str) -> Object | None:
        """The object with that `namespace/name`, for what an administrator names."""
        return self._objects.get(key)


def secret_text(secret: Object, name: str) -> str:
    """One entry of a Secret as text; "" where it is missing or no text."""
    plain = _mapping(secret, "stringData").get(name)
    if plain is not None:
        return str(plain)
    try:
        return base64.b64decode(str(_mapping(secret, "data").get(name) or ""), validate=True).decode()
    except ValueError:  # no base64, or no text
        return ""


def secret_names(secret: Object) -> list[str]:
    """The names of a Secret's entries."""
    return sorted({*_mapping(secret, "data"), *_mapping(secret, "stringData")})


def config_data(config_map: Object) -> Mapping[str, Any]:
    """A ConfigMap's text entries."""
    return _mapping(config_map, "data")


def _mapping(obj: Object, name: str) -> Mapping[str, Any]:
    found = obj.get(name)
    return found if isinstance(found, dict) else {}
