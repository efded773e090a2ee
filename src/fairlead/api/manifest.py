"""YAML and JSON manifests as a user writes them, read the way kubectl reads them.

Promises: several documents, `kind: List` unfolded, no alias bomb, no duplicate key, dates and `12:30` stay strings.
Refuses, with file, line and object: broken YAML, documents that are not objects, missing apiVersion, kind or name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

MAX_BYTES = 3 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 64


class ManifestError(ValueError):
    """A manifest that cannot be read: `source` (file or -), `line` (from 1, 0 if unknown) and what is wrong."""

    def __init__(self, source: str, line: int, message: str) -> None:
        super().__init__(f"{source}:{line}: {message}" if line else f"{source}: {message}")
        self.source, self.line, self.message = source, line, message


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object and where it was written."""

    source: str
    line: int
    object: dict[str, Any]

    @property
    def title(self) -> str:
        """`Deployment/web` or `Deployment/shop/web`, for messages."""
        metadata = self.object["metadata"]
        name = metadata.get("name") or metadata.get("generateName", "") + "*"
        parts = [self.object["kind"], metadata.get("namespace", ""), name]
        return "/".join(part for part in parts if part)


class _Loader(yaml.CSafeLoader):  # type: ignore[misc,name-defined,unused-ignore]
    """YAML as Go's reads it for Kubernetes: no dates, no base-60 numbers, no duplicate keys."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":int", ":float", ":merge"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call,unused-ignore]
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call,unused-ignore]
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])  # type: ignore[no-untyped-call,unused-ignore]


def _integer(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    for prefix, base in (("0b", 2), ("0x", 16), ("0o", 8)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    return sign * (int(digits, 8) if len(digits) > 1 and digits[0] == "0" else int(digits))


def _mapping(loader: Any, node: Any) -> Iterator[dict[Any, Any]]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None:
            raise yaml.constructor.ConstructorError(None, None, "a key must be a string", key_node.start_mark)
        if key in seen and key != "<<":
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
        seen.add(key)
    data: dict[Any, Any] = {}
    yield data
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        data[key_node.value] = loader.construct_object(value_node)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)  # type: ignore[no-untyped-call,unused-ignore]
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)  # type: ignore[no-untyped-call,unused-ignore]


def load_documents(text: str | bytes, *, source: str) -> Iterator[tuple[int, Any]]:
    """The documents and the lines they begin at; empty ones are left out. Raises ManifestError."""
    if len(text) > MAX_BYTES:
        raise ManifestError(source, 0, f"larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        loader = _Loader(text)
        try:
            while loader.check_node():
                node: Any = loader.get_node()
                line = node.start_mark.line + 1
                if _bounded(node, source) > MAX_NODES:
                    raise ManifestError(source, line, f"expands to more than {MAX_NODES} values")
                document = loader.construct_document(node)
                if document is not None:
                    yield line, document
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ManifestError(source, mark.line + 1 if mark else 0, f"not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(source, 0, f"not valid YAML: {error}") from None


def _bounded(node: Any, source: str) -> int:
    """How many values the node expands to, aliases counted as often as they are used; stops early past the limits."""
    count, stack = 0, [(node, 1)]
    while stack and count <= MAX_NODES:
        current, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ManifestError(source, current.start_mark.line + 1, f"nested deeper than {MAX_DEPTH} levels")
        count += 1
        if isinstance(current, yaml.MappingNode):
            stack += [(part, depth + 1) for pair in current.value for part in pair]
        elif isinstance(current, yaml.SequenceNode):
            stack += [(part, depth + 1) for part in current.value]
    return count


def load_manifests(text: str | bytes, *, source: str) -> list[Manifest]:
    """All objects of a file, Lists unfolded. Raises ManifestError for the first that is no Kubernetes object."""
    found: list[Manifest] = []
    for line, document in load_documents(text, source=source):
        found += _objects(document, source, line)
    return found


def _objects(document: Any, source: str, line: int) -> list[Manifest]:
    if not isinstance(document, dict):
        raise ManifestError(source, line, f"a Kubernetes object is expected here, found a {type(document).__name__}")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str) or not document[field]:
            raise ManifestError(source, line, f"{field}: Required value: every object names its {field}")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        return [found for item in document["items"] for found in _objects(_item(document, item), source, line)]
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        raise ManifestError(
            source, line, f"{document['kind']}: metadata.name: Required value: name or generateName is required"
        )
    return [Manifest(source, line, document)]


def _item(listed: dict[str, Any], item: Any) -> Any:
    """An entry of a list such as IngressList says neither its kind nor its apiVersion."""
    kind = listed["kind"].removesuffix("List")
    return {"apiVersion": listed["apiVersion"], "kind": kind, **item} if kind and isinstance(item, dict) else item


def dump(documents: list[dict[str, Any]]) -> str:
    """YAML of several objects, keys in their own order, nothing by reference."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, default_flow_style=False)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined,unused-ignore]
    def ignore_aliases(self, data: Any) -> bool:
        return True
