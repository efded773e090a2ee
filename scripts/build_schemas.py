#!/usr/bin/env python3
"""Makes src/fairlead/api/schema/{schemas,descriptions}.bin from the `kubernetes-validate` package (one Kubernetes
version).

schemas.bin: zlib over JSON, definition name -> OpenAPI v3 schema without descriptions; read at every start.
descriptions.bin: xz over JSON, definition name -> {"": text, field: text}; read when somebody asks for OpenAPI.
The output depends on the package's version only, so a test can compare it byte for byte.
"""

from __future__ import annotations

import json
import lzma
import sys
import zlib
from pathlib import Path
from typing import Any

VERSION = "v1.36.0"
LEFT_OUT = (
    "io.k8s.api.resource.",
    "io.k8s.api.flowcontrol.",
    "io.k8s.api.admissionregistration.",
    "io.k8s.api.storagemigration.",
    "io.k8s.api.apiserverinternal.",
    "io.k8s.api.certificates.",
    "io.k8s.kube-aggregator.",
)
TARGET = Path(__file__).resolve().parent.parent / "src/fairlead/api/schema"


def definitions() -> dict[str, Any]:
    """Every definition of that version, as the package has it."""
    import kubernetes_validate

    package = Path(kubernetes_validate.__file__).parent
    found = json.loads((package / f"kubernetes-json-schema/{VERSION}-local/_definitions.json").read_text())
    return {name: schema for name, schema in found["$defs"].items() if not name.startswith(LEFT_OUT)}


def clean(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as Kubernetes' own OpenAPI v3 has it: no "or null", references under components."""
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "description" or (
            key == "enum" and "x-kubernetes-group-version-kind" not in schema and len(value) == 1
        ):
            continue
        if key == "type" and isinstance(value, list):
            value = next(word for word in value if word != "null")
        elif key == "$ref":
            value = "#/components/schemas/" + value.rsplit("/", 1)[1]
        elif key == "properties":
            value = {name: clean(field) for name, field in sorted(value.items())}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            value = clean(value)
        elif key in ("oneOf", "anyOf", "allOf"):
            value = [clean(part) for part in value]
        result[key] = value
    return result


def describe(schema: dict[str, Any]) -> dict[str, str]:
    """The texts of a definition and its fields."""
    texts = {"": schema.get("description", "")}
    texts.update({name: field.get("description", "") for name, field in schema.get("properties", {}).items()})
    return {name: text for name, text in texts.items() if text}


def pack(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def build(target: Path) -> None:
    """Writes both files into a folder."""
    found = definitions()
    known = {name: clean(schema) for name, schema in found.items()}
    (target / "schemas.bin").write_bytes(zlib.compress(pack(known), 9))
    texts = {name: describe(schema) for name, schema in found.items()}
    (target / "descriptions.bin").write_bytes(lzma.compress(pack(texts), preset=9))


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
