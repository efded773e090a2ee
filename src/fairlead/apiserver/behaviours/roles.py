"""Roles and bindings: nobody may hand on more than they have (`pkg/registry/rbac`, escalation checks).

Allowed all the same: whoever may `escalate` roles, or `bind` the role in question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.api import kinds, names
from fairlead.apiserver import authentication, rbac, status
from fairlead.apiserver.behaviours import base

Object = dict[str, Any]


class Roles(base.Behaviour):
    """Role and ClusterRole."""

    def __init__(self, kind: kinds.Kind, *, validate: Callable[[Object], base.Problems]) -> None:
        self._kind = kind
        self._validate = validate

    def name_problem(self, name: str, *, prefix: bool) -> str:
        return names.path_segment_problem(name)

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        rules = obj.get("rules") or []
        _check(
            self._kind, obj, rules, around, verb="escalate", resource=self._kind.plural, role=obj["metadata"]["name"]
        )

    def admit_update(self, obj: Object, old: Object, around: base.Surroundings) -> None:
        if obj.get("rules") != old.get("rules"):
            self.admit_create(obj, around)

    def validate(self, obj: Object) -> base.Problems:
        return self._validate(obj)


class Bindings(base.Behaviour):
    """RoleBinding and ClusterRoleBinding."""

    def __init__(
        self,
        kind: kinds.Kind,
        *,
        default: Callable[[Object], None],
        validate: Callable[[Object], base.Problems],
        validate_update: Callable[[Object, Object], base.Problems],
    ) -> None:
        self._kind = kind
        self._default = default
        self._validate = validate
        self._validate_update = validate_update

    def name_problem(self, name: str, *, prefix: bool) -> str:
        return names.path_segment_problem(name)

    def default(self, obj: Object) -> None:
        self._default(obj)

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        reference = obj.get("roleRef") or {}
        plural = "roles" if reference.get("kind") == "Role" else "clusterroles"
        namespace = obj["metadata"].get("namespace", "") if plural == "roles" else ""
        role = around.get(f"{plural}.{rbac.GROUP}", namespace, str(reference.get("name", "")))
        rules = rbac.rules_of(role, list(around.list(f"clusterroles.{rbac.GROUP}")))
        _check(self._kind, obj, rules, around, verb="bind", resource=plural, role=str(reference.get("name", "")))

    def admit_update(self, obj: Object, old: Object, around: base.Surroundings) -> None:
        if obj.get("subjects") != old.get("subjects"):
            self.admit_create(obj, around)

    def validate(self, obj: Object) -> base.Problems:
        return self._validate(obj)

    def validate_update(self, obj: Object, old: Object) -> base.Problems:
        return self._validate_update(obj, old)


def _check(
    kind: kinds.Kind,
    obj: Object,
    rules: list[Object],
    around: base.Surroundings,
    *,
    verb: str,
    resource: str,
    role: str,
) -> None:
    namespace = obj["metadata"].get("namespace", "")
    if around.identity is authentication.SERVER or around.may(
        rbac.Attributes(verb, rbac.GROUP, resource, "", namespace, role)
    ):
        return
    own = list(around.own_rules(namespace))
    missing = [rule for rule in rules if not rbac.covers(own, rule)]
    if missing:
        user = around.identity
        text = (
            f'user "{user.username}" (groups={list(user.groups)}) is attempting to grant RBAC '
            f"permissions not currently held: {missing}"
        )
        raise status.forbidden(kind, obj["metadata"]["name"], text)
