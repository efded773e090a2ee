"""How the objects of a custom kind behave: pruned, defaulted and validated by their version's structural schema
and its CEL rules."""

from __future__ import annotations

from typing import Any

from fairlead.api.structural import defaulting, rules, validation
from fairlead.apiserver.behaviours import base

Object = dict[str, Any]


class Custom(base.Behaviour):
    """The behaviour of one version of one custom kind."""

    def __init__(self, schema: Object) -> None:
        self._schema = schema

    def default(self, obj: Object) -> None:
        defaulting.fill(obj, self._schema)

    def validate(self, obj: Object) -> base.Problems:
        return validation.validate(obj, self._schema) or rules.validate(obj, self._schema, root=True)

    def validate_update(self, obj: Object, old: Object) -> base.Problems:
        return rules.validate_update(obj, old, self._schema, root=True)

    def validate_status(self, obj: Object, old: Object) -> base.Problems:
        schema = (self._schema.get("properties") or {}).get("status") or {}
        found, before = obj.get("status"), old.get("status")
        problems = validation.validate(found, schema, path="status") or rules.validate(found, schema, path="status")
        if problems or before is None:
            return problems
        return rules.validate_update(found, before, schema, path="status")
