"""What roles and bindings may say (`pkg/apis/rbac/validation`)."""

from __future__ import annotations

from typing import Any

from fairlead.api import field_errors
from fairlead.api.validation import common

Object = dict[str, Any]
Problems = common.Problems


def validate_role(obj: Object) -> Problems:
    found: Problems = []
    for index, rule in enumerate(obj.get("rules") or ()):
        where = f"rules[{index}]"
        if not rule.get("verbs"):
            found.append(field_errors.required(f"{where}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if obj["kind"] == "Role":
                found.append(
                    field_errors.invalid(
                        f"{where}.nonResourceURLs",
                        rule["nonResourceURLs"],
                        "namespaced rules cannot apply to non-resource URLs",
                    )
                )
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                found.append(
                    field_errors.invalid(
                        f"{where}.nonResourceURLs",
                        rule["nonResourceURLs"],
                        "rules cannot apply to both regular resources and non-resource URLs",
                    )
                )
            continue
        if not rule.get("apiGroups"):
            found.append(
                field_errors.required(f"{where}.apiGroups", "resource rules must supply at least one api group")
            )
        if not rule.get("resources"):
            found.append(
                field_errors.required(f"{where}.resources", "resource rules must supply at least one resource")
            )
    return found


def validate_binding(obj: Object) -> Problems:
    found: Problems = []
    reference = obj.get("roleRef") or {}
    known = ("ClusterRole",) if obj["kind"] == "ClusterRoleBinding" else ("ClusterRole", "Role")
    found += common.one_of(reference.get("kind"), "roleRef.kind", known)
    if not reference.get("name"):
        found.append(field_errors.required("roleRef.name"))
    for index, subject in enumerate(obj.get("subjects") or ()):
        where = f"subjects[{index}]"
        found += common.one_of(subject.get("kind"), f"{where}.kind", ("ServiceAccount", "User", "Group"))
        if not subject.get("name"):
            found.append(field_errors.required(f"{where}.name"))
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            found.append(field_errors.required(f"{where}.namespace"))
    return found


def validate_binding_update(obj: Object, old: Object) -> Problems:
    if obj.get("roleRef") != old.get("roleRef"):
        return [field_errors.invalid("roleRef", obj.get("roleRef"), "cannot change roleRef")]
    return []
