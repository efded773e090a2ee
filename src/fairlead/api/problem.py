"""A user's mistake as a value. Only bugs raise; Problems end up in conditions, Events and answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where.

    `object` is `Kind/namespace/name` (no namespace for cluster-scoped kinds), `path` a field path such as
    `spec.rules[0].http.paths[1].backend`, `reason` a CamelCase word for machines, `message` a sentence with what to do.
    """

    object: str
    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        where = f"{self.object}: {self.path}" if self.path else self.object
        return f"{where}: {self.message}"
