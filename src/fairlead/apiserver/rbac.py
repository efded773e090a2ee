"""Authorization: RBAC over the stored roles and bindings, always on. There is no way to allow everything by a switch.

Follows Kubernetes' `plugin/pkg/auth/authorizer/rbac`: rules are unions, nothing denies; `system:masters` is bound to
cluster-admin by a bootstrap binding like any other. Decisions are remembered until a role or binding changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fairlead.api import selectors
from fairlead.apiserver import codec
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
BUCKETS = tuple(f"{plural}.{GROUP}" for plural in ("roles", "rolebindings", "clusterroles", "clusterrolebindings"))
_REMEMBERED = 8192


class Attributes(msgspec.Struct, frozen=True):
    """What is asked for. `path` is set for requests that are no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authorizer:
    """Answers whether an identity may do something."""

    def __init__(self, store: protocol.Store) -> None:
        self._store = store
        self._built_at = self._looked_at = -1
        self._grants: dict[str, list[tuple[str, list[Object]]]] = {}
        self._memo: dict[tuple[str, tuple[str, ...], Attributes], bool] = {}

    def allowed(self, identity: exchange.Identity, asked: Attributes) -> bool:
        """True when one rule of one binding allows it."""
        self._refresh()
        key = (identity.username, identity.groups, asked)
        found = self._memo.get(key)
        if found is None:
            found = any(matches(rule, asked) for rule in self.rules(identity, asked.namespace))
            if len(self._memo) >= _REMEMBERED:
                self._memo.clear()
            self._memo[key] = found
        return found

    def rules(self, identity: exchange.Identity, namespace: str) -> Iterable[Object]:
        """Every rule that applies to the identity cluster-wide or in the namespace."""
        self._refresh()
        for subject in (f"User {identity.username}", *(f"Group {group}" for group in identity.groups)):
            for where, rules in self._grants.get(subject, ()):
                if not where or where == namespace:
                    yield from rules

    def _refresh(self) -> None:
        if self._store.revision == self._looked_at:
            return
        self._looked_at = self._store.revision
        changed = max(self._store.changed(bucket) for bucket in BUCKETS)
        if changed != self._built_at:
            self._memo.clear()
            self._grants = _build(self._store)
            self._built_at = changed


def _build(store: protocol.Store) -> dict[str, list[tuple[str, list[Object]]]]:
    roles, bindings, cluster_roles, cluster_bindings = (
        [codec.decode(entry.value) for entry in store.page(f"{bucket}/").entries] for bucket in BUCKETS
    )
    by_name = {role["metadata"]["name"]: role for role in cluster_roles}
    local = {(role["metadata"]["namespace"], role["metadata"]["name"]): role.get("rules") or [] for role in roles}
    grants: dict[str, list[tuple[str, list[Object]]]] = {}
    for binding in cluster_bindings + bindings:
        namespace = binding["metadata"].get("namespace", "")
        reference = binding["roleRef"]
        if reference["kind"] == "ClusterRole":
            rules = rules_of(by_name.get(reference["name"]), cluster_roles)
        else:
            rules = local.get((namespace, reference["name"]), [])
        for subject in binding.get("subjects") or ():
            grants.setdefault(_subject(subject, namespace), []).append((namespace, rules))
    return grants


def _subject(subject: Object, namespace: str) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"User system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"
    return f"{subject['kind']} {subject['name']}"


def rules_of(role: Object | None, cluster_roles: list[Object]) -> list[Object]:
    """A cluster role's rules, those it aggregates included."""
    if role is None:
        return []
    rules = list(role.get("rules") or [])
    for wanted in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        selector = selectors.from_object(wanted)
        for other in cluster_roles:
            if other is not role and selector.matches(other["metadata"].get("labels")):
                rules += other.get("rules") or []
    return rules


def matches(rule: Object, asked: Attributes) -> bool:
    """True when a rule allows what is asked."""
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path:
        return any(_path_matches(pattern, asked.path) for pattern in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    known = rule.get("resources") or ()
    wanted = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    if "*" not in known and wanted not in known and not (asked.subresource and f"*/{asked.subresource}" in known):
        return False
    names = rule.get("resourceNames") or ()
    return not names or asked.name in names


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def covers(rules: list[Object], wanted: Object) -> bool:
    """True when the rules together allow all that `wanted` allows: what one may hand on (escalation check)."""
    asked = [
        Attributes(verb, path=path)
        for verb in wanted.get("verbs") or ()
        for path in wanted.get("nonResourceURLs") or ()
    ]
    for verb in wanted.get("verbs") or ():
        for group in wanted.get("apiGroups") or ():
            for resource in wanted.get("resources") or ():
                plain, _, subresource = resource.partition("/")
                for name in wanted.get("resourceNames") or ("",):
                    asked.append(Attributes(verb, group, plain, subresource, name=name))
    return all(any(matches(rule, one) for rule in rules) for one in asked)
