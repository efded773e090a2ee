"""The packed schemas of one Kubernetes version, as `scripts/build_schemas.py` made them. Read once, when first
needed."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import Any

import msgspec

from fairlead.api.schema import own

Schema = dict[str, Any]
KUBERNETES_VERSION = "v1.36.0"
REF = "#/components/schemas/"


@functools.cache
def definitions() -> dict[str, Schema]:
    """Definition name -> OpenAPI v3 schema without descriptions. Shared: not to be changed."""
    packed = Path(__file__).with_name("schemas.bin").read_bytes()
    found: dict[str, Schema] = msgspec.json.decode(zlib.decompress(packed))
    return found | own.DEFINITIONS


def descriptions() -> dict[str, dict[str, str]]:
    """Definition name -> texts of it ("") and its fields. Not kept: OpenAPI needs it once."""
    import lzma

    packed = Path(__file__).with_name("descriptions.bin").read_bytes()
    found: dict[str, dict[str, str]] = msgspec.json.decode(lzma.decompress(packed))
    return found | own.DESCRIPTIONS


@functools.cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    found = {}
    for name, schema in definitions().items():
        kinds = schema.get("x-kubernetes-group-version-kind", ())
        if len(kinds) == 1:
            found[kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]] = name
    return found


def definition_of(group: str, version: str, kind: str) -> str:
    """The definition's name of a kind; "" for one that Kubernetes does not have."""
    return _by_kind().get((group, version, kind), "")


def resolve(schema: Schema) -> tuple[str, Schema]:
    """Follows a reference: (definition name or "", schema)."""
    ref = schema.get("$ref")
    if ref is None:
        return "", schema
    name = ref[len(REF) :]
    return name, definitions()[name]
