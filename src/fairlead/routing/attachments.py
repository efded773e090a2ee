"""What policies give to their targets: found by BackendPolicy's translator, read by those of Services and Ingresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """What a policy is for: an object, or one port of a Service."""

    kind: str
    namespace: str
    name: str
    section: str = ""


@dataclass
class Attached:
    """The fields that policies give to targets; read by the translators of Services and Ingresses."""

    fields: dict[Target, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, kind: str, namespace: str, name: str, *, section: str = "") -> dict[str, Any]:
        """The fields for an object, those of its section on top."""
        whole = self.fields.get(Target(kind, namespace, name), {})
        part = self.fields.get(Target(kind, namespace, name, section), {}) if section else {}
        return {**whole, **part}
