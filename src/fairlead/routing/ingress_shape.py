"""Whether an Ingress has the types of networking.k8s.io/v1 where a translation looks; an API server checks it, too.

Manifests that no server has seen (`fairlead migrate`) are read, too, and a translation returns for every input.
"""

from __future__ import annotations

from typing import Any

_PORT = {"name": str, "number": int}
_BACKEND = {"service": {"name": str, "port": _PORT}, "resource": {}}
_PATH = {"path": str, "pathType": str, "backend": _BACKEND}
_SPEC = {
    "ingressClassName": str,
    "defaultBackend": _BACKEND,
    "tls": [{"hosts": [str], "secretName": str}],
    "rules": [{"host": str, "http": {"paths": [_PATH]}}],
}
_SHAPE = {"metadata": {"name": str, "namespace": str, "annotations": {}}, "spec": _SPEC}
_WORDS = {str: "a string", int: "a number", dict: "an object", list: "a list"}


def mistake(ingress: dict[str, Any]) -> tuple[str, str]:
    """The first field with a wrong type and what it should be; two "" when there is none."""
    return _mistake(ingress, _SHAPE, "")


def _mistake(value: Any, shape: Any, path: str) -> tuple[str, str]:
    wanted = shape if isinstance(shape, type) else type(shape)
    if value is None:
        return "", ""
    if type(value) is not wanted:
        return path, f"must be {_WORDS[wanted]}, found {type(value).__name__}"
    for part, inner, place in _parts(value, shape, path):
        if part is None and wanted is list:
            return place, "must not be null"
        found = _mistake(part, inner, place)
        if found[1]:
            return found
    return "", ""


def _parts(value: Any, shape: Any, path: str) -> list[tuple[Any, Any, str]]:
    if isinstance(shape, dict):
        return [(value.get(name), inner, f"{path}.{name}".lstrip(".")) for name, inner in shape.items()]
    if isinstance(shape, list):
        return [(one, shape[0], f"{path}[{index}]") for index, one in enumerate(value)]
    return []
