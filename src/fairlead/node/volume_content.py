"""What the files of configMap, secret, downwardAPI and projected volumes hold. Pure: the objects are passed in.

`items`, `optional`, `defaultMode` and `mode` are as Kubernetes has them. What is missing is VolumeProblem with the
kubelet's message, and the pod waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.node import atomic_files, env, tokens

Object = dict[str, Any]
Files = dict[str, atomic_files.FileContent]
_DEFAULT_MODE = 0o644


class VolumeProblem(Exception):
    """The volume cannot be filled; the message says what is missing."""


def references(volume: Object) -> set[env.Key]:
    """The ConfigMaps, Secrets and tokens that this volume shows."""
    found: set[env.Key] = set()
    for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
        if source.get("configMap"):
            found.add(("ConfigMap", source["configMap"].get("name", "")))
        if source.get("secret"):
            found.add(("Secret", source["secret"].get("secretName") or source["secret"].get("name", "")))
        if source.get("serviceAccountToken"):
            found.add(tokens.reference(source["serviceAccountToken"]))
    return found


def is_generated(volume: Object) -> bool:
    """Whether its files are made of objects (and follow their changes)."""
    return any(volume.get(word) is not None for word in ("configMap", "secret", "downwardAPI", "projected"))


def files(volume: Object, container: Object, facts: env.Facts) -> Files:
    """The files of that volume. Raises VolumeProblem."""
    if volume.get("projected") is not None:
        default = volume["projected"].get("defaultMode", _DEFAULT_MODE)
        found: Files = {}
        for source in volume["projected"].get("sources") or []:
            found |= _source(source, container, facts, default)
        return found
    kind = next(word for word in ("configMap", "secret", "downwardAPI") if volume.get(word) is not None)
    return _source(volume, container, facts, volume[kind].get("defaultMode", _DEFAULT_MODE))


def _source(source: Object, container: Object, facts: env.Facts, mode: int) -> Files:
    if source.get("configMap") is not None:
        return _object_files("ConfigMap", source["configMap"], source["configMap"].get("name", ""), facts, mode)
    if source.get("secret") is not None:
        name = source["secret"].get("secretName") or source["secret"].get("name", "")
        return _object_files("Secret", source["secret"], name, facts, mode)
    if source.get("downwardAPI") is not None:
        return _downward_files(source["downwardAPI"], container, facts, mode)
    if source.get("serviceAccountToken") is not None:
        token = (facts.objects.get(tokens.reference(source["serviceAccountToken"])) or {}).get("token", "")
        return {source["serviceAccountToken"]["path"]: atomic_files.FileContent(token.encode(), mode)}
    raise VolumeProblem(f"a projected source {sorted(source)} is not offered here")


def _object_files(kind: str, source: Object, name: str, facts: env.Facts, mode: int) -> Files:
    obj = facts.objects.get((kind, name))
    if obj is None:
        if source.get("optional"):
            return {}
        raise VolumeProblem(f'{kind.lower()} "{name}" not found')
    contents = env.contents(kind, obj)
    if not source.get("items"):
        return {key: atomic_files.FileContent(value, mode) for key, value in contents.items()}
    return _selected(kind, source, name, contents, mode)


def _selected(kind: str, source: Object, name: str, contents: Mapping[str, bytes], mode: int) -> Files:
    found: Files = {}
    for item in source["items"]:
        if item["key"] in contents:
            found[item["path"]] = atomic_files.FileContent(contents[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise VolumeProblem(f"{kind.lower()} {name} references non-existent key: {item['key']}")
    return found


def _downward_files(source: Object, container: Object, facts: env.Facts, mode: int) -> Files:
    found: Files = {}
    try:
        for item in source.get("items") or []:
            if item.get("fieldRef"):
                text = env.field_value(item["fieldRef"].get("fieldPath", ""), facts)
            else:
                text = env.resource_value(item.get("resourceFieldRef") or {}, container, facts)
            found[item["path"]] = atomic_files.FileContent(text.encode(), item.get("mode", mode))
    except env.EnvProblem as error:
        raise VolumeProblem(str(error)) from error
    return found
