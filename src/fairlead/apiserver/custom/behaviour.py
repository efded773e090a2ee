"""How the objects of a custom kind behave: pruned, defaulted and validated by their version's structural schema."""

from __future__ import annotations

from typing import Any

from fairlead.api.structural import defaulting, validation
from fairlead.apiserver.behaviours import base

Object = dict[str, Any]


class Custom(base.Behaviour):
    """The behaviour of one version of one custom kind."""

    def __init__(self, schema: Object) -> None:
        self._schema = schema

    def default(self, obj: Object) -> None:
        defaulting.fill(obj, self._schema)

    def validate(self, obj: Object) -> base.Problems:
        return validation.validate(obj, self._schema)

    def validate_status(self, obj: Object, old: Object) -> base.Problems:
        return validation.validate(
            obj.get("status"), (self._schema.get("properties") or {}).get("status") or {}, path="status"
        )
